"""Linear algebra under plain LWE: the default suite.

    secret      S  in {-1, 0, 1}^(n x w)             uniform; w = columns encrypted (features or query slots)
    encrypt     C  = A S + E + M                     A expanded from a seed; M scaled to fill the modulus
    public key  P  = A' S + E'                       A' (n x n) expanded from a second seed
    evaluate    (U A, U C)                           U: the provider's integer matrix
    sanitise    H  = U A + R A' + E1                 R ternary, E1 error: a fresh LWE sample
                Y  = U C + R P + F                   F uniform in [-2^f, 2^f), 2^40 times the noise
    answer      H and Y modulo 2^40                  modulus switch by rounding
    decrypt     U M = Y - H S                        up to F and rounding, which the planner bounds

All matrices are over Z_q with q = 2^80, S and R ternary, E, E', E1 rounded Gaussian of width 3.19. The assumption is
LWE without structure. Prior art: Regev (STOC 2005); Lindner, Peikert (CT-RSA 2011); FrodoKEM; SimplePIR (USENIX
Security 2023), which gives the server no privacy; Bae et al., linear algebra on BLAS (arXiv 2503.16080). The proof
sketch of function privacy is in `evaluation`, the bit budget in `planner`, the security estimate in
`securealign.he.estimator`.
"""
