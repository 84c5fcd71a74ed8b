"""Vector operations on float32 lanes, for the innermost loops of the search.

There are 64 lanes, for the nodes of a patch; `som_dask.engine.sample_lanes` has those for samples. The operations
use LLVM's vector types (see `som_dask.numerics.simd`), because numba does not keep so many running scores in
registers when it compiles a plain loop: they are 5 to 25 times faster than the plain loops that the tests compare
them with.

Arguments that stand for arrays are addresses, ``array.ctypes.data``, of contiguous data, float32 unless said
otherwise.
"""

# mypy: disable-error-code="no-untyped-def, var-annotated"
from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from som_dask.numerics.simd import FLOAT, INDEX, SHORT, Vectors

__all__ = [
    "LANES",
    "bound_patches",
    "find_lane",
    "first_bit",
    "lanes_within",
    "lowest_lane",
    "score_four",
    "score_lanes",
]

LANES = 64
WIDTH = 16
FLOATS, NUMBERS = Vectors(FLOAT, WIDTH), Vectors(SHORT, WIDTH)


def _load_lanes(builder, address):
    """Load 64 lanes as a list of vectors."""
    pointer = FLOATS.point(builder, address)
    return [FLOATS.load(builder, pointer, k) for k in range(LANES // WIDTH)]


def _multiply_add(builder, a, b, c):
    """Return ``a * b + c``, computed in one operation if the machine has one."""
    return FLOATS.call(builder, "fmuladd", a, b, c)


def _lowest(builder, vectors):
    """Return the lowest element of some vectors, by comparing one half with the other again and again."""
    while len(vectors) > 1:
        vectors = [FLOATS.lower(builder, a, b) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
    (lowest,) = vectors
    step = WIDTH // 2
    while step:
        turned = ir.Constant(NUMBERS.type, [(i + step) % WIDTH for i in range(WIDTH)])
        lowest = FLOATS.lower(builder, lowest, builder.shuffle_vector(lowest, lowest, turned))
        step //= 2
    return builder.extract_element(lowest, ir.Constant(SHORT, 0))


@intrinsic
def score_lanes(typing_context, sample, n_features, weights, half_norms, scores):
    """Score one sample against the 64 nodes of a patch, and return the lowest score.

    ``scores[l] = half_norms[l] - sum_j sample[j] * weights[j, l]`` for node l.

    Parameters
    ----------
    sample : (n_features,) float32
    n_features : int
    weights : (n_features, 64) float32
    half_norms : (64,) float32
    scores : (64,) float32
        Filled.

    Returns
    -------
    float32
    """
    signature = types.float32(types.intp, types.intp, types.intp, types.intp, types.intp)

    def codegen(context, builder, signature, arguments):
        sample, n_features, weights, half_norms, scores = arguments
        sample = builder.inttoptr(sample, FLOAT.as_pointer())
        weights = FLOATS.point(builder, weights)
        # LLVM turns these variables into registers.
        sums = [cgutils.alloca_once_value(builder, start) for start in _load_lanes(builder, half_norms)]
        with cgutils.for_range(builder, n_features) as feature:
            value = builder.load(builder.gep(sample, [feature.index]))
            factor = FLOATS.repeat(builder, builder.fneg(value))
            first = builder.mul(feature.index, ir.Constant(INDEX, len(sums)))
            for k, total in enumerate(sums):
                weight = FLOATS.load(builder, weights, builder.add(first, ir.Constant(INDEX, k)))
                builder.store(_multiply_add(builder, factor, weight, builder.load(total)), total)
        results = [builder.load(total) for total in sums]
        target = FLOATS.point(builder, scores)
        for k, result in enumerate(results):
            FLOATS.store(builder, result, target, k)
        return _lowest(builder, results)

    return signature, codegen


@intrinsic
def score_four(typing_context, samples, n_features, weights, half_norms, scores, stride, lowest):
    """Score four samples as `score_lanes` does.

    Each weight that is loaded serves four samples, so the speed depends on the multiplications and not on the loads.

    Parameters
    ----------
    samples : (4, n_features) float32
    n_features : int
    weights : (n_features, 64) float32
    half_norms : (64,) float32
    scores : (4, 64) float32
        Filled. Its rows begin `stride` floats apart.
    stride : int
        A multiple of 16.
    lowest : (4,) float32
        Filled with the lowest score of each sample.
    """
    signature = types.void(*[types.intp] * 7)

    def codegen(context, builder, signature, arguments):
        samples, n_features, weights, half_norms, scores, stride, lowest = arguments
        samples = builder.inttoptr(samples, FLOAT.as_pointer())
        weights, target = FLOATS.point(builder, weights), FLOATS.point(builder, scores)
        lowest = builder.inttoptr(lowest, FLOAT.as_pointer())
        starts = _load_lanes(builder, half_norms)
        results = [[], [], [], []]
        # Two vectors at a time, because 8 sums fit into the registers of narrower machines too.
        for half in (0, 2):
            sums = [[cgutils.alloca_once_value(builder, starts[half + k]) for k in range(2)] for _ in range(4)]
            with cgutils.for_range(builder, n_features) as feature:
                first = builder.mul(feature.index, ir.Constant(INDEX, len(starts)))
                vectors = [
                    FLOATS.load(builder, weights, builder.add(first, ir.Constant(INDEX, half + k))) for k in range(2)
                ]
                for i in range(4):
                    place = builder.add(builder.mul(n_features, ir.Constant(INDEX, i)), feature.index)
                    value = builder.load(builder.gep(samples, [place]))
                    factor = FLOATS.repeat(builder, builder.fneg(value))
                    for total, vector in zip(sums[i], vectors, strict=True):
                        builder.store(_multiply_add(builder, factor, vector, builder.load(total)), total)
            for i in range(4):
                results[i] += [builder.load(total) for total in sums[i]]
        vectors_apart = builder.sdiv(stride, ir.Constant(INDEX, WIDTH))
        for i in range(4):
            for k, result in enumerate(results[i]):
                place = builder.mul(vectors_apart, ir.Constant(INDEX, i))
                place = builder.add(place, ir.Constant(INDEX, k))
                FLOATS.store(builder, result, target, place)
            builder.store(_lowest(builder, results[i]), builder.gep(lowest, [ir.Constant(INDEX, i)]))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def bound_patches(typing_context, squared, product, box, count, lower):
    """Bound the squared distances from a sample x to the nodes of all patches, and return the lowest bound.

    A patch lies in a box around a plane through its center c. With ``a_k = t_k . (x - c)`` along both directions t_k
    of the plane, the squared distance from x to any node of the patch is at least
    ``out_1^2 + out_2^2 + max(sqrt(|x - c|^2 - a_1^2 - a_2^2) - thickness, 0)^2``, where out_k is how far a_k lies
    outside of the ends of the box.

    Parameters
    ----------
    squared : float32
        |x|^2
    product : (3, count) float32
        ``|c|^2 - 2 x . c``, a_1 and a_2 of every patch.
    box : (5, count) float32
        Low and high end in the first direction, low and high end in the second, and the thickness.
    count : int
        Number of patches, filled up to a multiple of 16.
    lower : (count,) float32
        Filled with the bounds.

    Returns
    -------
    float32
    """
    signature = types.float32(types.float32, types.intp, types.intp, types.intp, types.intp)

    def codegen(context, builder, signature, arguments):
        squared, product, box, count, lower = arguments
        product, box, lower = (FLOATS.point(builder, address) for address in (product, box, lower))
        squared = FLOATS.repeat(builder, squared)
        nothing = FLOATS.constant(0.0)
        vectors = builder.sdiv(count, ir.Constant(INDEX, WIDTH))
        lowest = cgutils.alloca_once_value(builder, FLOATS.constant(float("inf")))
        with cgutils.for_range(builder, vectors) as patches:

            def row(table, k):
                start = builder.mul(vectors, ir.Constant(INDEX, k))
                return FLOATS.load(builder, table, builder.add(start, patches.index))

            above = builder.fadd(row(product, 0), squared)
            outside = []
            for k in range(2):
                along = row(product, k + 1)
                above = _multiply_add(builder, builder.fneg(along), along, above)
                low, high = builder.fsub(row(box, 2 * k), along), builder.fsub(along, row(box, 2 * k + 1))
                outside.append(FLOATS.higher(builder, FLOATS.higher(builder, low, high), nothing))
            distance = FLOATS.call(builder, "sqrt", FLOATS.higher(builder, above, nothing))
            clear = FLOATS.higher(builder, builder.fsub(distance, row(box, 4)), nothing)
            bound = builder.fmul(clear, clear)
            for out in outside:
                bound = _multiply_add(builder, out, out, bound)
            FLOATS.store(builder, bound, lower, patches.index)
            builder.store(FLOATS.lower(builder, bound, builder.load(lowest)), lowest)
        return _lowest(builder, [builder.load(lowest)])

    return signature, codegen


@intrinsic
def lowest_lane(typing_context, scores):
    """Return the lowest of 64 scores."""

    def codegen(context, builder, signature, arguments):
        return _lowest(builder, _load_lanes(builder, arguments[0]))

    return types.float32(types.intp), codegen


def _mask(builder, address, compare, value):
    """Return 64 bits that say which lanes compare so with a value."""
    wanted = FLOATS.repeat(builder, value)
    mask = ir.Constant(INDEX, 0)
    for k, vector in enumerate(_load_lanes(builder, address)):
        bits = builder.bitcast(builder.fcmp_ordered(compare, vector, wanted), ir.IntType(WIDTH))
        mask = builder.or_(mask, builder.shl(builder.zext(bits, INDEX), ir.Constant(INDEX, k * WIDTH)))
    return mask


@intrinsic
def find_lane(typing_context, scores, value):
    """Return the number of the first of 64 lanes that equals `value`, or 64 if none does."""

    def codegen(context, builder, signature, arguments):
        return builder.cttz(_mask(builder, arguments[0], "==", arguments[1]), ir.Constant(ir.IntType(1), 0))

    return types.intp(types.intp, types.float32), codegen


@intrinsic
def lanes_within(typing_context, scores, limit):
    """Return 64 bits that say which lanes are at most `limit`."""

    def codegen(context, builder, signature, arguments):
        return _mask(builder, arguments[0], "<=", arguments[1])

    return types.uint64(types.intp, types.float32), codegen


@intrinsic
def first_bit(typing_context, mask):
    """Return the number of the lowest bit that is set, or 64 if none is."""

    def codegen(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.intp(types.uint64), codegen
