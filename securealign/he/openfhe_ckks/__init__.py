"""Leveled CKKS on the OpenFHE library (Al Badawi et al., ePrint 2022/915), with one multiplication by plaintext.

    profile   rings, scales and sizes
    layout    where the numbers of a query and of a head sit in slots, and which rotations sum them
    engine    the calls of the library; the only module that imports it, and only in a worker

Neither job multiplies ciphertexts, so nothing is rescaled and one prime is modulus enough: rings of half the usual
dimension. An answer is re-randomised by an encryption of zero and every slot holds a result, but the error is not
flooded: whoever holds the key sees error that depends on the head (`function_private` is false).
"""
