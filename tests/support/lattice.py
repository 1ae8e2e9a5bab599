"""Lattice reduction for attacks on toy instances."""

from __future__ import annotations

from fractions import Fraction

Vector = list[int]


def _dot(left: list[Fraction] | Vector, right: list[Fraction] | Vector) -> Fraction:
    return Fraction(sum(a * b for a, b in zip(left, right, strict=True)))


def reduce_basis(basis: list[Vector]) -> list[Vector]:
    """Return an LLL-reduced basis (Lenstra, Lenstra, Lovasz 1982) in exact arithmetic; for a dozen dimensions."""
    basis = [list(vector) for vector in basis]
    size = len(basis)
    gram: list[list[Fraction]] = [[Fraction(0)] * size for _ in basis]
    norms = [Fraction(0)] * size
    mu = [[Fraction(0)] * size for _ in basis]

    def orthogonalise(k: int) -> None:
        for j in range(k + 1):
            gram[k][j] = _dot(basis[k], basis[j]) - sum(mu[j][i] * gram[k][i] for i in range(j))
            if j < k:
                mu[k][j] = gram[k][j] / norms[j]
        norms[k] = gram[k][k]

    def shorten(k: int) -> None:
        for j in reversed(range(k)):
            factor = round(mu[k][j])
            if factor:
                basis[k] = [a - factor * b for a, b in zip(basis[k], basis[j], strict=True)]
                for i in range(j):
                    mu[k][i] -= factor * mu[j][i]
                mu[k][j] -= factor
        orthogonalise(k)

    orthogonalise(0)
    k = 1
    while k < size:
        orthogonalise(k)
        shorten(k)
        if norms[k] >= (Fraction(3, 4) - mu[k][k - 1] ** 2) * norms[k - 1]:
            k += 1
            continue
        basis[k - 1], basis[k] = basis[k], basis[k - 1]
        orthogonalise(k - 1)
        k = max(k - 1, 1)
    return basis


def closest(basis: list[Vector], target: Vector) -> Vector:
    """Return a lattice vector near `target`: Babai's nearest plane, with a reduced basis."""
    planes: list[list[Fraction]] = []
    for vector in basis:
        rest = [Fraction(entry) for entry in vector]
        for plane in planes:
            factor = _dot(rest, plane) / _dot(plane, plane)
            rest = [a - factor * b for a, b in zip(rest, plane, strict=True)]
        planes.append(rest)
    rest = [Fraction(entry) for entry in target]
    for vector, plane in zip(reversed(basis), reversed(planes), strict=True):
        factor = round(_dot(rest, plane) / _dot(plane, plane))
        rest = [a - factor * b for a, b in zip(rest, vector, strict=True)]
    return [int(entry - left) for entry, left in zip(target, rest, strict=True)]


def small_solution(public: list[Vector], sums: Vector, modulus: int, *, error: int, secret: int) -> Vector:
    """Return the u for which u A is nearest to `sums` modulo `modulus`, where errors are about
    `error` and entries of u about `secret`; `public` is A, one row per entry of u.
    """
    terms, samples = len(public), len(sums)
    weight = max(1, error // secret)
    rows = [[*entries, *(weight if i == j else 0 for j in range(terms))] for i, entries in enumerate(public)]
    rows += [[modulus if i == j else 0 for j in range(samples)] + [0] * terms for i in range(samples)]
    nearest = closest(reduce_basis(rows), [*sums, *[0] * terms])
    return [entry // weight for entry in nearest[samples:]]
