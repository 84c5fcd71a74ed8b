"""Exact sums of numbers of any size, and from them mean and variance: the same bits in any order of adding."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numba
import numpy as np

__all__ = ["ExactMoments"]

# A float64 is a whole multiple of 2^-1074, below 2^1024: cut into words of 32 bits, it has a place in 66 of them.
WORD_BITS, WORDS = 32, 68
LEAST_EXPONENT = 1074
SIGNIFICANT_BITS = 53
ROWS_AT_ONCE = 2**30  # each adds less than 2^32 to a word, thrice at most
SPLITTER = 134217729.0  # 2^27 + 1


@numba.njit(nogil=True, cache=True)
def _enter(words, first, value, bits):
    """Add a finite number, given also as its bits, to a sum: its words from the one numbered `first` on, int64."""
    exponent = np.int64((bits >> np.uint64(52)) & np.uint64(0x7FF))
    fraction = np.int64(bits & np.uint64(0xFFFFFFFFFFFFF))
    if exponent > 0:
        fraction |= np.int64(1) << 52
        exponent -= 1
    word, shift = (exponent >> 5) - first, exponent & 31
    if word < 0 or word + 2 >= len(words):  # infinite or NaN, and so refused elsewhere
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
    """a b without its error, and the error: both exact but for underflow (Dekker, 1971)."""
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
    """The least and the largest size of the finite numbers other than zero; infinity and 0 if there are none."""
    least, most = np.inf, 0.0
    for value in values.flat:
        size = abs(value)
        if 0 < size < np.inf:
            least, most = min(least, size), max(most, size)
    return least, most


def _window(values, weights):
    """Which words the sums of some samples may need, with room for the carry of 2^64 of them: from, to."""
    (least_x, most_x), (least_w, most_w) = _sizes(values), _sizes(weights)
    if most_w == 0:
        return 0, 0
    # 2^low <= size < 2^high. The last bit of a product of three lies 156 below the first ones; as a number by itself
    # it has 52 bits more.
    low_w, high_w = math.frexp(least_w)[1] - 1, math.frexp(most_w)[1]
    low_x, high_x = (math.frexp(least_x)[1] - 1, math.frexp(most_x)[1]) if most_x else (0, 0)
    low = low_w + min(0, 2 * low_x) - 4 * SIGNIFICANT_BITS
    high = high_w + max(0, 2 * high_x) + 2
    start, stop = (low + LEAST_EXPONENT) // WORD_BITS, (high + LEAST_EXPONENT) // WORD_BITS + 4
    return min(max(start, 0), WORDS - 4), min(max(stop, 4), WORDS)


@numba.njit(nogil=True, cache=True)
def _add(values, weights, words, start, number, buffer, bits):
    """Add rows (n, D), NaN where missing, with weights (n,) or (1,), to words (3, D, W) and numbers (D,)."""
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
class ExactMoments:
    """Sums of w, w x and w x^2 of each feature as whole numbers (after Neal, *Fast exact summation*, 2015).

    Each word of 32 bits of the sums has an int64 of its own, so words add up by themselves, and in any order. Only
    those that the samples need are kept: of numbers of usual sizes a dozen, which counts where features are many.

    Attributes
    ----------
    number : (D,) int64
        Values that are not missing.
    words : (3, D, W) int64
        W of the 68 words.
    start : int
        Which of them is the first.
    """

    number: np.ndarray
    words: np.ndarray
    start: int = 0

    @classmethod
    def zero(cls, n_features: int) -> ExactMoments:
        """Of no samples."""
        return cls(np.zeros(n_features, dtype=np.int64), np.zeros((3, n_features, 0), dtype=np.int64))

    def add(self, values: np.ndarray, weights: np.ndarray | None = None) -> None:
        """Add samples (n, D) float64, NaN where missing, in place; no more than 2^28 before `carried`."""
        buffer = np.empty(7)
        weights = np.ones(1) if weights is None else np.asarray(weights, dtype=np.float64)
        start, stop = _window(values, weights)
        self.words, self.start = self._with(start, stop)
        _add(values, weights, self.words, self.start, self.number, buffer, buffer.view(np.uint64))

    def _with(self, start: int, stop: int) -> tuple[np.ndarray, int]:
        """The words, and these as well; and the first of them."""
        here = self.start + self.words.shape[2]
        if start >= stop or (self.start <= start and stop <= here):
            return self.words, self.start
        if not self.words.shape[2]:
            return np.zeros((*self.words.shape[:2], stop - start), dtype=np.int64), start
        first, last = min(start, self.start), max(stop, here)
        words = np.zeros((*self.words.shape[:2], last - first), dtype=np.int64)
        words[..., self.start - first : here - first] = self.words
        return words, first

    def carried(self) -> ExactMoments:
        """The same with words below 2^32, so that very many more can be added."""
        words = self.words.copy()
        for k in range(words.shape[2] - 1):
            carry = words[..., k] >> WORD_BITS
            words[..., k] -= carry << WORD_BITS
            words[..., k + 1] += carry
        return ExactMoments(self.number, words, self.start)

    def __add__(self, other: ExactMoments) -> ExactMoments:
        words, start = self._with(other.start, other.start + other.words.shape[2])
        more, _ = other._with(start, start + words.shape[2])
        return ExactMoments(self.number + other.number, words + more, start).carried()

    def mean_and_deviation(self) -> tuple[np.ndarray, np.ndarray]:
        """Weighted mean and standard deviation (divided by the weights' sum), (D,) float64.

        NaN for a feature without values. Each is rounded once, and the root; nothing cancels.
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
    total = 0
    for k, word in enumerate(words.tolist(), start):
        total += word << (WORD_BITS * k)
    return Fraction(total, 2**LEAST_EXPONENT)


def _root(value: Fraction) -> float:
    """Square root; of values beyond float64 too."""
    if value == 0:
        return 0.0
    shift = (value.numerator.bit_length() - value.denominator.bit_length()) // 2
    scaled = value / Fraction(4) ** shift if shift >= 0 else value * Fraction(4) ** -shift
    return math.ldexp(math.sqrt(float(scaled)), shift)
