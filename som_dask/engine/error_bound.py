r"""How far a score in float32 may be from the true one: the one proof that all searches rest on.

With samples x and nodes w shifted by the same center and scaled by the same power of two, the score of a node is
``s = |w|^2 / 2 - x . w``: half its squared distance less ``|x|^2 / 2``, which is the same for all nodes. Let R be the
largest ``|w|``, t the number of products that are added up, u = 2^-24 and v = 2^-53.

*Float32.* The score is computed from x, w and ``|w|^2 / 2`` rounded to float32. A product ``x_j w_j`` is rounded on
the way in (x_j and w_j), as a product, and by each addition that it takes part in. There are t products and ``|w|^2 /
2`` to add, so t additions at most, in whatever order, fused or not. So each term is multiplied by no more than t + 3
factors between 1 - u and 1 + u; one more covers a norm ``|x|`` that is taken of the rounded numbers. Of n such
factors the product is within ``gamma_n = n u / (1 - n u)`` of 1 (Higham, *Accuracy and Stability of Numerical
Algorithms*, 2nd ed., 2002, section 3.1). With the inequality of Cauchy and Schwarz, ``sum_j |x_j w_j| <= |x| R``, the
error is at most ``gamma_{t+4} (|x| R + R^2 / 2)``. Numbers that vanish in float32 are below 2^-126, and the largest
entry of a scaled codebook is 1/2 or more: their part is far below that.

*Float64.* What is called the true order is that of the plain rule, ``sum_j (x_j - w_j)^2`` in float64 with the
features added in their order. Its own rounding, of D + 1 operations, and that of shifting, scaling and squaring
before, are within ``(D + 8) v (|x| + R)^2``.

The sum of both is `score_error`. A node whose score lies more than twice that above the lowest is not the best by the
plain rule. With gaps, k_j = 1 where a sample knows feature j and 0 elsewhere, the score ``sum_j k_j (w_j^2 / 2 - x_j
w_j)`` is one product of ``(k x, -k / 2)`` and ``(w, w^2)``: t = 2 D, and all else holds as it stands.

With weights u_j between 0 and 1 in place of k_j, and the largest above 1/4, the same holds with the norm ``|x|``
taken of ``sqrt(u_j) x_j``: ``sum_j u_j |x_j w_j| <= |sqrt(u) x| R``, and ``sum_j u_j w_j^2 <= R^2``. A weight and its
product with x_j are float64 numbers that are rounded to float32 once, as x_j is; their own roundings are some more of
the plain rule. What vanishes in float32 is again below 2^-126.

Half a squared distance is a score plus ``|x|^2 / 2``, rounded to float32 and added before the products: one addition
more, and one term, of the size ``|x|^2 / 2``. With the gamma of one product more its error is larger by that times
the gamma: `half_square_error`.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numba

__all__ = [
    "LARGEST_NORM",
    "LEAST_SQUARE",
    "PLAIN_ROUNDINGS",
    "UNIT_ROUNDOFF_32",
    "UNIT_ROUNDOFF_64",
    "definitions",
    "gamma_of",
    "half_square_error",
    "patch_room",
    "score_error",
]

UNIT_ROUNDOFF_32, UNIT_ROUNDOFF_64 = 2.0**-24, 2.0**-53
SCORE_ROUNDINGS = 4  # of a term of a score, beside one for each product
PLAIN_ROUNDINGS = 8  # of the plain rule and of shifting, beside one for each feature
LARGEST_NORM = 1e15  # of a scaled sample: beyond it a float32 square might overflow
LEAST_SQUARE = 1e-280  # below it a sum of squares may have lost digits to underflow


def gamma_of(products: int) -> float:
    """``gamma_n = n u / (1 - n u)`` for scores of so many products: n is `products` and `SCORE_ROUNDINGS`."""
    n = products + SCORE_ROUNDINGS
    return n * UNIT_ROUNDOFF_32 / (1 - n * UNIT_ROUNDOFF_32)


@numba.njit(nogil=True, cache=True)
def score_error(norm, radius, gamma, n_features):
    """What a score is off by at most; see the module.

    Parameters
    ----------
    norm : float, or array of them
        ``|x|``.
    radius : float
        R.
    gamma : float
        Of `gamma_of`.
    n_features : int
        D.
    """
    size = norm + radius
    return gamma * radius * (norm + radius / 2) + (n_features + PLAIN_ROUNDINGS) * UNIT_ROUNDOFF_64 * size * size


@numba.njit(nogil=True, cache=True)
def half_square_error(norm, radius, gamma, n_features):
    """What half a squared distance is off by at most; the arguments are those of `score_error`."""
    return score_error(norm, radius, gamma, n_features) + gamma * norm * norm / 2


@numba.njit(nogil=True, cache=True)
def patch_room(error, size, gamma):
    """All errors of a squared distance, twice what is off by `error`, and of a patch's bound.

    The bound of a patch has some more operations, on products that may be of the size of ``size = |x| + R``.
    """
    return 2 * error + 32 * gamma * size * size


def definitions() -> tuple[str, ...]:
    """The constants as options for a compiler of C++: the GPU's source has no numbers of its own."""
    return (
        f"-DUNIT_ROUNDOFF_64={UNIT_ROUNDOFF_64.hex()}",
        f"-DPLAIN_ROUNDINGS={PLAIN_ROUNDINGS}",
        f"-DLARGEST_NORM={LARGEST_NORM!r}",
        f"-DLEAST_SQUARE={LEAST_SQUARE!r}",
    )
