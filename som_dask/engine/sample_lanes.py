"""The scores of 16 samples side by side, each in a lane of float32 vectors: the innermost loop of the search.

No lane waits for another, so a patch needs as many operations as it has nodes, whatever their number. A score carries
the node's place in the patch in its lowest bits: the lowest of some scores then tell which nodes they are of, and
finding the three lowest takes 6 operations a node instead of 12. See `som_dask.engine.lanes` for the arguments that
are addresses.
"""

# mypy: disable-error-code="no-untyped-def, var-annotated"
from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from som_dask.engine.lanes import LANES
from som_dask.numerics.simd import DOUBLE, FLOAT, INDEX, SHORT, Vectors

__all__ = ["AT_ONCE", "PLACE_ERROR", "TOGETHER", "score_samples", "turn_samples"]

TOGETHER = 16  # number of samples that `score_samples` takes
AT_ONCE = 8  # number of nodes whose scores it adds up at the same time, enough to hide the latency of additions
# Of a score, relative to what is left of it: the place takes the lowest 6 of its 23 bits.
PLACE_ERROR = LANES * 2.0**-23
FLOATS, NUMBERS = Vectors(FLOAT, TOGETHER), Vectors(SHORT, TOGETHER)
DOUBLES = Vectors(DOUBLE, TOGETHER)


@intrinsic
def turn_samples(typing_context, rows, n_features, center, scale, turned, squares):
    """Shift and scale 16 samples and turn them, features first and with their signs changed.

    ``turned[j, i] = -(rows[i, j] - center[j]) * scale``, in float64 and then rounded.

    Parameters
    ----------
    rows : (16, n_features) float64
    n_features : int
    center : (n_features,) float64
    scale : float64
    turned : (n_features, 16) float32
        Filled.
    squares : (16,) float64
        Filled with the squared norms, before the rounding to float32.
    """
    signature = types.void(types.intp, types.intp, types.intp, types.float64, types.intp, types.intp)

    def codegen(context, builder, signature, arguments):
        rows, n_features, center, scale, turned, squares = arguments
        rows, center = (builder.inttoptr(address, DOUBLE.as_pointer()) for address in (rows, center))
        turned, squares = FLOATS.point(builder, turned), DOUBLES.point(builder, squares)
        scale = DOUBLES.repeat(builder, scale)
        total = cgutils.alloca_once_value(builder, DOUBLES.constant(0.0))
        with cgutils.for_range(builder, n_features) as feature:
            values = ir.Constant(DOUBLES.type, ir.Undefined)
            for i in range(TOGETHER):
                place = builder.add(builder.mul(n_features, ir.Constant(INDEX, i)), feature.index)
                value = builder.load(builder.gep(rows, [place]))
                values = builder.insert_element(values, value, ir.Constant(SHORT, i))
            middle = DOUBLES.repeat(builder, builder.load(builder.gep(center, [feature.index])))
            values = builder.fmul(builder.fsub(values, middle), scale)
            builder.store(DOUBLES.call(builder, "fmuladd", values, values, builder.load(total)), total)
            FLOATS.store(builder, builder.fneg(builder.fptrunc(values, FLOATS.type)), turned, feature.index)
        DOUBLES.store(builder, builder.load(total), squares)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def score_samples(
    typing_context, samples, n_features, offsets, weights, half_norms, count, first_number, best, numbers
):
    """Score 16 samples against nodes of a patch, and update the lowest scores of each sample.

    ``score = half_norms[l] + offsets[i] + sum_j samples[j, i] * weights[j, l]`` for sample i and node l, whose number
    is ``first_number + l``; then its lowest bits are replaced by l, which changes it by less than `PLACE_ERROR` times
    the result. Of scores that are equal, those entered by an earlier call are kept.

    Parameters
    ----------
    samples : (n_features, 16) float32
        With their signs changed.
    n_features : int
    offsets : (16,) float32
        Half the squared norms: scores are half the squared distances, small where they matter, and so are the errors
        that the places make.
    weights : (at least n_features, 64) float32
    half_norms : (64,) float32
    count : int
        Number of nodes, which come first, rounded up to a multiple of 8.
    first_number : int
    best : (3, 16) float32
        The three lowest scores of each sample so far, in ascending order; changed in place.
    numbers : (2, 16) int32
        Numbers of the nodes that have the two lowest scores; changed in place.
    """
    signature = types.void(*[types.intp] * 9)

    def codegen(context, builder, signature, arguments):
        samples, n_features, offsets, weights, half_norms, count, first_number, best, numbers = arguments
        samples, best = FLOATS.point(builder, samples), FLOATS.point(builder, best)
        weights = builder.inttoptr(weights, FLOAT.as_pointer())
        half_norms = builder.inttoptr(half_norms, FLOAT.as_pointer())
        numbers = NUMBERS.point(builder, numbers)

        offsets = FLOATS.load(builder, FLOATS.point(builder, offsets))
        third = FLOATS.load(builder, best, 2)
        # Nothing that is not below the third best of so far is of use.
        here = [cgutils.alloca_once_value(builder, third) for _ in range(3)]
        with cgutils.for_range(builder, builder.sdiv(count, ir.Constant(INDEX, AT_ONCE))) as group:
            base = builder.mul(group.index, ir.Constant(INDEX, AT_ONCE))
            scores = _scores(builder, samples, n_features, offsets, weights, half_norms, base)
            pairs = [_sort(builder, a, b) for a, b in zip(scores[::2], scores[1::2], strict=True)]
            lowest = _lowest(builder, [low for low, _ in pairs])
            with _if_any(builder, builder.fcmp_ordered("<", lowest, builder.load(here[2]))):
                base = NUMBERS.repeat(builder, builder.trunc(base, SHORT))
                three = [
                    _with_bits(builder, score, base) for score in _three_of_eight(builder, _placed(builder, scores))
                ]
                three = _three_of_six(builder, three, [builder.load(place) for place in here])
                for score, place in zip(three, here, strict=True):
                    builder.store(score, place)
        found = [builder.load(place) for place in here]
        with _if_any(builder, builder.fcmp_ordered("<", found[0], third)):
            kept = [(FLOATS, best, k) for k in range(3)] + [(NUMBERS, numbers, k) for k in range(2)]
            values = [kind.load(builder, pointer, k) for kind, pointer, k in kept]
            first_number = NUMBERS.repeat(builder, builder.trunc(first_number, SHORT))
            for score in found:
                place = builder.and_(builder.bitcast(score, NUMBERS.type), NUMBERS.constant(LANES - 1))
                values = _enter(builder, score, builder.add(first_number, place), values)
            for value, (kind, pointer, k) in zip(values, kept, strict=True):
                kind.store(builder, value, pointer, k)
        return context.get_dummy_value()

    return signature, codegen


def _scores(builder, samples, n_features, offsets, weights, half_norms, base):
    """Scores of the 8 nodes from the place `base` on: a list of vectors."""
    sums = []
    for k in range(AT_ONCE):
        place = builder.gep(half_norms, [builder.add(base, ir.Constant(INDEX, k))])
        start = builder.fadd(offsets, FLOATS.repeat(builder, builder.load(place)))
        sums.append(cgutils.alloca_once_value(builder, start))
    with cgutils.for_range(builder, n_features) as feature:
        row = builder.add(builder.mul(feature.index, ir.Constant(INDEX, LANES)), base)
        values = FLOATS.load(builder, samples, feature.index)
        for k, total in enumerate(sums):
            weight = builder.load(builder.gep(weights, [builder.add(row, ir.Constant(INDEX, k))]))
            factor = FLOATS.repeat(builder, weight)
            builder.store(FLOATS.call(builder, "fmuladd", values, factor, builder.load(total)), total)
    return [builder.load(total) for total in sums]


def _if_any(builder, condition):
    """Enter a block if any lane meets a condition."""
    bits = builder.bitcast(condition, ir.IntType(TOGETHER))
    return builder.if_then(builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(TOGETHER), 0)))


def _placed(builder, scores):
    """Scores with their places in the list in their lowest bits, of which the others of a place are zero."""
    rest = NUMBERS.constant(-LANES)
    whole = [builder.and_(builder.bitcast(score, NUMBERS.type), rest) for score in scores]
    return [builder.bitcast(builder.or_(bits, NUMBERS.constant(k)), FLOATS.type) for k, bits in enumerate(whole)]


def _with_bits(builder, score, bits):
    """Set further bits of a score."""
    return builder.bitcast(builder.or_(builder.bitcast(score, NUMBERS.type), bits), FLOATS.type)


def _sort(builder, a, b):
    """The lower and the higher of two vectors."""
    return FLOATS.lower(builder, a, b), FLOATS.higher(builder, a, b)


def _lowest(builder, vectors):
    """The lowest of some vectors, lane by lane."""
    while len(vectors) > 1:
        vectors = [FLOATS.lower(builder, a, b) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
    return vectors[0]


def _three_of_eight(builder, scores):
    """The three lowest of eight vectors, in ascending order."""
    fours = []
    for a, b, c, d in (scores[:4], scores[4:]):
        (low, high), (other_low, other_high) = _sort(builder, a, b), _sort(builder, c, d)
        first, middle = _sort(builder, low, other_low)
        second, third = _sort(builder, middle, FLOATS.lower(builder, high, other_high))
        fours.append((first, second, third))
    return _three_of_six(builder, *fours)


def _three_of_six(builder, some, others):
    """The three lowest of two ascending lists of three vectors, in ascending order."""
    # The lower of each two, one list read backwards, are the three lowest (Batcher's bitonic merge).
    a, b, c = (FLOATS.lower(builder, x, y) for x, y in zip(some, reversed(others), strict=True))
    a, c = _sort(builder, a, c)
    a, b = _sort(builder, a, b)
    b, c = _sort(builder, b, c)
    return [a, b, c]


def _enter(builder, score, number, values):
    """Enter the scores of one node into the three lowest scores and the numbers of the two lowest."""
    least, second, third, its, seconds = values
    first, below = builder.fcmp_ordered("<", score, least), builder.fcmp_ordered("<", score, second)
    above_least, above_second = FLOATS.higher(builder, score, least), FLOATS.higher(builder, score, second)
    return [
        FLOATS.lower(builder, least, score),
        FLOATS.lower(builder, second, above_least),
        FLOATS.lower(builder, third, above_second),
        builder.select(first, number, its),
        builder.select(first, its, builder.select(below, number, seconds)),
    ]
