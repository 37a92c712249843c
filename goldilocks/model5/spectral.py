"""The largest singular value of a matrix from its Gram matrix, with the same digits every time."""

from __future__ import annotations

import numpy as np

DENSE = 100  # all eigenvalues are computed of Gram matrices up to this size
STEPS_BETWEEN_CHECKS = 8
TOLERANCE = 1e-4  # of the residual; the eigenvalue's error is of the order of its square


def spectral_norm(gram: np.ndarray) -> float:
    """‖W‖₂ of a W with this Gram matrix, WᵀW or WWᵀ, (n, n) float64; NaN if an entry is not finite.

    The square root of the largest eigenvalue, to a relative 1e-6, by Lanczos if the matrix is large.
    """
    if not np.isfinite(gram).all():
        return float("nan")
    largest = np.linalg.eigvalsh(gram)[-1] if len(gram) <= DENSE else largest_eigenvalue(gram)
    return float(np.sqrt(max(largest, 0.0)))


def largest_eigenvalue(matrix: np.ndarray) -> float:
    """The largest eigenvalue of a symmetric, positive semidefinite (n, n) float64 matrix, by Lanczos' method.

    The start vector is fixed and patternless. Iteration ends when the residual of the largest Ritz pair, βₖ|sₖ|, is
    small beside its value (Parlett 1980, The Symmetric Eigenvalue Problem, section 13.2), or the space is exhausted.
    """
    n = len(matrix)
    vector = np.cos(np.arange(1.0, n + 1) ** 2)
    basis = np.empty((n, n))
    diagonal, beside = np.zeros(n), np.zeros(n)
    vector /= np.sqrt(vector @ vector)
    ritz = 0.0
    for k in range(n):
        basis[k] = vector
        known = basis[: k + 1]
        vector = matrix @ vector
        diagonal[k] = known[k] @ vector
        for _ in range(2):  # a second pass removes the rounding errors of the first
            vector = vector - (known @ vector) @ known
        beside[k] = np.sqrt(vector @ vector)
        last = k + 1 == n or beside[k] <= np.finfo(float).eps * diagonal[: k + 1].max()
        if last or (k + 1) % STEPS_BETWEEN_CHECKS == 0:
            tridiagonal = np.diag(diagonal[: k + 1]) + np.diag(beside[:k], 1) + np.diag(beside[:k], -1)
            values, vectors = np.linalg.eigh(tridiagonal)
            ritz = float(values[-1])
            if last or beside[k] * abs(vectors[-1, -1]) <= TOLERANCE * ritz:
                break
        vector /= beside[k]
    return ritz
