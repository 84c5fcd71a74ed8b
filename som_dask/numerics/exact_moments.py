"""Exact sums of numbers of any size, for means and variances that are the same bits in any order of adding."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numba
import numpy as np

from som_dask.numerics.sizes import HasSize

__all__ = ["ExactMoments"]

# A float64 is a whole multiple of 2^-1074 below 2^1024, so 66 words of 32 bits can hold it. Two more are for carries.
WORD_BITS, WORDS = 32, 68
LEAST_EXPONENT = 1074
SIGNIFICANT_BITS = 53
SPLITTER = 134217729.0  # 2^27 + 1


@numba.njit(nogil=True, cache=True)
def _enter(words, first, value, bits):
    """Add a finite number to a sum, in place.

    Parameters
    ----------
    words : (W,) int64
        Words of the sum, from word number `first` on.
    first : int
    value : float
    bits : uint64
        The same number viewed as an integer.
    """
    exponent = np.int64((bits >> np.uint64(52)) & np.uint64(0x7FF))
    fraction = np.int64(bits & np.uint64(0xFFFFFFFFFFFFF))
    if exponent > 0:
        fraction |= np.int64(1) << 52
        exponent -= 1
    word, shift = (exponent >> 5) - first, exponent & 31
    if word < 0 or word + 2 >= len(words):  # infinite or NaN; such samples are refused elsewhere
        return
    low = (fraction & np.int64(0xFFFFFFFF)) << shift
    high = (fraction >> 32) << shift
    middle = (low >> 32) + (high & np.int64(0xFFFFFFFF))
    sign = -1 if value < 0 else 1
    words[word] += sign * (low & np.int64(0xFFFFFFFF))
    words[word + 1] += sign * middle
    words[word + 2] += sign * (high >> 32)


@numba.njit(nogil=True, cache=True)
def _product(a, b):
    """Return the rounded product of two numbers and its rounding error, exact but for underflow (Dekker, 1971)."""
    product = a * b
    shifted = SPLITTER * a
    a_high = shifted - (shifted - a)
    shifted = SPLITTER * b
    b_high = shifted - (shifted - b)
    a_low, b_low = a - a_high, b - b_high
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, error


@numba.njit(nogil=True, cache=True)
def _sizes(values):
    """Return the least and the greatest absolute value of the finite numbers other than zero, or infinity and 0."""
    least, most = np.inf, 0.0
    for value in values.flat:
        size = abs(value)
        if 0 < size < np.inf:
            least, most = min(least, size), max(most, size)
    return least, most


def _window(values, weights):
    """Return the range of words, ``start, stop``, that the sums of some samples may need.

    There is room for the carries of 2^64 samples.
    """
    (least_x, most_x), (least_w, most_w) = _sizes(values), _sizes(weights)
    if most_w == 0:
        return 0, 0
    # 2^low <= size < 2^high. The last bit of a product of three numbers lies up to 156 places below its first one;
    # as a number of its own it has 52 bits more.
    low_w, high_w = math.frexp(least_w)[1] - 1, math.frexp(most_w)[1]
    low_x, high_x = (math.frexp(least_x)[1] - 1, math.frexp(most_x)[1]) if most_x else (0, 0)
    low = low_w + min(0, 2 * low_x) - 4 * SIGNIFICANT_BITS
    high = high_w + max(0, 2 * high_x) + 2
    start, stop = (low + LEAST_EXPONENT) // WORD_BITS, (high + LEAST_EXPONENT) // WORD_BITS + 4
    return min(max(start, 0), WORDS - 4), min(max(stop, 4), WORDS)


@numba.njit(nogil=True, cache=True)
def _add(values, weights, words, start, number, buffer, bits):
    """Add weighted rows to the sums of w, w x and w x^2, in place.

    Parameters
    ----------
    values : (n, D) float64
        NaN where a value is missing.
    weights : (n,) or (1,) float64
    words : (3, D, W) int64
        Words of the sums, from word number `start` on.
    start : int
    number : (D,) int64
        Number of values added so far.
    buffer : (7,) float64
        Working memory.
    bits : (7,) uint64
        The same memory viewed as integers.
    """
    for i in range(values.shape[0]):
        weight = weights[i if len(weights) > 1 else 0]
        for j in range(values.shape[1]):
            x = values[i, j]
            if x != x:
                continue
            number[j] += 1
            first, first_error = (x, 0.0) if weight == 1 else _product(weight, x)
            buffer[0], buffer[1], buffer[2] = weight, first, first_error
            buffer[3], buffer[4] = _product(first, x)
            buffer[5], buffer[6] = _product(first_error, x)
            for k in range(7):
                if buffer[k] != 0:
                    _enter(words[0 if k == 0 else 1 if k < 3 else 2, j], start, buffer[k], bits[k])


@dataclass(eq=False)
class ExactMoments(HasSize):
    """Exact sums of w, w x and w x^2 of each feature, as whole numbers (after Neal, *Fast exact summation*, 2015).

    Each sum is cut into words of 32 bits, and each word is kept in an int64. So words can be added independently of
    each other and in any order, and carried later. Only the words that the samples need are kept: about a dozen for
    values of ordinary size, which saves memory if there are many features.

    Attributes
    ----------
    number : (D,) int64
        Number of values that are not missing.
    words : (3, D, W) int64
        The W words that are kept, of 68 possible ones, for the sums of w, w x and w x^2.
    start : int
        Number of the first word that is kept.
    """

    number: np.ndarray
    words: np.ndarray
    start: int = 0

    @classmethod
    def zero(cls, n_features: int) -> ExactMoments:
        """Return the sums of no samples at all."""
        return cls(np.zeros(n_features, dtype=np.int64), np.zeros((3, n_features, 0), dtype=np.int64))

    def add(self, values: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Add samples, in place.

        At most 2^28 samples may be added before `carry` must be called.

        Parameters
        ----------
        values : (n, D) float64
            NaN where a value is missing.
        weights : (n,), optional
            1 for each sample by default.
        """
        buffer = np.empty(7)
        weights = np.ones(1) if weights is None else np.asarray(weights, dtype=np.float64)
        start, stop = _window(values, weights)
        self.words, self.start = self._widen(start, stop)
        _add(values, weights, self.words, self.start, self.number, buffer, buffer.view(np.uint64))

    def _widen(self, start: int, stop: int) -> tuple[np.ndarray, int]:
        """Return the words with room for those from `start` to `stop`, and the number of the first one."""
        here = self.start + self.words.shape[2]
        if start >= stop or (self.start <= start and stop <= here):
            return self.words, self.start
        if not self.words.shape[2]:
            return np.zeros((*self.words.shape[:2], stop - start), dtype=np.int64), start
        first, last = min(start, self.start), max(stop, here)
        words = np.zeros((*self.words.shape[:2], last - first), dtype=np.int64)
        words[..., self.start - first : here - first] = self.words
        return words, first

    def carry(self) -> ExactMoments:
        """Return the same sums with words below 2^32, so that many more samples can be added."""
        words = self.words.copy()
        for k in range(words.shape[2] - 1):
            carry = words[..., k] >> WORD_BITS
            words[..., k] -= carry << WORD_BITS
            words[..., k + 1] += carry
        return ExactMoments(self.number, words, self.start)

    def __add__(self, other: ExactMoments) -> ExactMoments:
        words, start = self._widen(other.start, other.start + other.words.shape[2])
        more, _ = other._widen(start, start + words.shape[2])
        return ExactMoments(self.number + other.number, words + more, start).carry()

    def mean_and_deviation(self) -> tuple[np.ndarray, np.ndarray]:
        """Compute the weighted mean and standard deviation of each feature.

        The variance is divided by the sum of the weights. Mean and variance are computed exactly and rounded once, so
        no digits cancel; the square root is rounded once more.

        Returns
        -------
        mean, deviation : (D,) float64
            NaN for a feature that has no values.
        """
        mean, deviation = np.full(len(self.number), np.nan), np.full(len(self.number), np.nan)
        for j in range(len(self.number)):
            weight, first, second = (_fraction(words, self.start) for words in self.words[:, j])
            if weight > 0:
                mean[j] = float(first / weight)
                variance = second / weight - (first / weight) ** 2
                deviation[j] = _root(max(variance, Fraction(0)))
        return mean, deviation


def _fraction(words: np.ndarray, start: int) -> Fraction:
    """Return the sum that some words stand for, the first of them being word number `start`."""
    total = 0
    for k, word in enumerate(words.tolist(), start):
        total += word << (WORD_BITS * k)
    return Fraction(total, 2**LEAST_EXPONENT)


def _root(value: Fraction) -> float:
    """Return the square root as a float. The value itself may lie beyond the range of float64."""
    if value == 0:
        return 0.0
    shift = (value.numerator.bit_length() - value.denominator.bit_length()) // 2
    scaled = value / Fraction(4) ** shift if shift >= 0 else value * Fraction(4) ** -shift
    return math.ldexp(math.sqrt(float(scaled)), shift)
