"""Vector operations on 64 float32 lanes, for the innermost loop of the search.

Written in LLVM's vector types through numba, because no loop that numba is given keeps 64 running scores in
registers: these are 5 to 25 times faster than the plain loops that their tests hold them against. They are
compiled for the machine they run on (AVX-512, AVX2, NEON ...) and need no compiler to be installed. Arguments are
addresses, ``array.ctypes.data``, of float32 data without gaps.
"""

# mypy: disable-error-code="no-untyped-def, var-annotated"
from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

__all__ = ["LANES", "find_lane", "first_bit", "lanes_within", "lowest_lane", "score_four", "score_lanes"]

LANES = 64
WIDTH = 16  # of one vector: an AVX-512 register; LLVM splits it where registers are narrower
FLOAT, INDEX, SHORT = ir.FloatType(), ir.IntType(64), ir.IntType(32)
VECTOR = ir.VectorType(FLOAT, WIDTH)
UNDEFINED = ir.Constant(VECTOR, ir.Undefined)


def _vectors(builder, address):
    """Pointer to the vectors at an address."""
    return builder.inttoptr(address, VECTOR.as_pointer())


def _load(builder, pointer, index):
    value = builder.load(builder.gep(pointer, [index]))
    value.align = 4
    return value


def _load_lanes(builder, address):
    pointer = _vectors(builder, address)
    return [_load(builder, pointer, ir.Constant(INDEX, k)) for k in range(LANES // WIDTH)]


def _same_in_all(builder, scalar):
    """A vector with `scalar` in every place."""
    vector = builder.insert_element(UNDEFINED, scalar, ir.Constant(SHORT, 0))
    return builder.shuffle_vector(vector, UNDEFINED, ir.Constant(ir.VectorType(SHORT, WIDTH), [0] * WIDTH))


def _multiply_add(builder, a, b, c):
    """``a * b + c``, in one operation where the machine has it."""
    name = f"llvm.fmuladd.v{WIDTH}f32"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(VECTOR, [VECTOR] * 3), name)
    return builder.call(function, [a, b, c])


def _lower(builder, a, b):
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


def _lowest(builder, vectors):
    """Lowest element of some vectors: halve again and again."""
    while len(vectors) > 1:
        vectors = [_lower(builder, a, b) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
    (lowest,) = vectors
    step = WIDTH // 2
    while step:
        turned = ir.Constant(ir.VectorType(SHORT, WIDTH), [(i + step) % WIDTH for i in range(WIDTH)])
        lowest = _lower(builder, lowest, builder.shuffle_vector(lowest, lowest, turned))
        step //= 2
    return builder.extract_element(lowest, ir.Constant(SHORT, 0))


@intrinsic
def score_lanes(typing_context, sample, n_features, weights, half_norms, scores):
    """``scores[l] = half_norms[l] - sum_j sample[j] * weights[j, l]`` for 64 lanes; returns the lowest."""
    signature = types.float32(types.intp, types.intp, types.intp, types.intp, types.intp)

    def codegen(context, builder, signature, arguments):
        sample, n_features, weights, half_norms, scores = arguments
        sample = builder.inttoptr(sample, FLOAT.as_pointer())
        weights = _vectors(builder, weights)
        # LLVM turns these variables into registers.
        sums = [cgutils.alloca_once_value(builder, start) for start in _load_lanes(builder, half_norms)]
        with cgutils.for_range(builder, n_features) as feature:
            value = builder.load(builder.gep(sample, [feature.index]))
            factor = _same_in_all(builder, builder.fneg(value))
            first = builder.mul(feature.index, ir.Constant(INDEX, len(sums)))
            for k, total in enumerate(sums):
                weight = _load(builder, weights, builder.add(first, ir.Constant(INDEX, k)))
                builder.store(_multiply_add(builder, factor, weight, builder.load(total)), total)
        results = [builder.load(total) for total in sums]
        target = _vectors(builder, scores)
        for k, result in enumerate(results):
            builder.store(result, builder.gep(target, [ir.Constant(INDEX, k)])).align = 4
        return _lowest(builder, results)

    return signature, codegen


@intrinsic
def score_four(typing_context, samples, n_features, weights, half_norms, scores, stride, lowest):
    """`score_lanes` for four samples that lie one after the other; scores is (4, 64), lowest is (4,).

    The rows of scores begin `stride` floats apart, a multiple of 16. Each weight that is loaded serves four
    samples, so the multiplications and not the loads set the speed.
    """
    signature = types.void(*[types.intp] * 7)

    def codegen(context, builder, signature, arguments):
        samples, n_features, weights, half_norms, scores, stride, lowest = arguments
        samples = builder.inttoptr(samples, FLOAT.as_pointer())
        weights, target = _vectors(builder, weights), _vectors(builder, scores)
        lowest = builder.inttoptr(lowest, FLOAT.as_pointer())
        starts = _load_lanes(builder, half_norms)
        results = [[], [], [], []]
        # Two vectors at a time: 8 sums fit into the registers of narrower machines too.
        for half in (0, 2):
            sums = [[cgutils.alloca_once_value(builder, starts[half + k]) for k in range(2)] for _ in range(4)]
            with cgutils.for_range(builder, n_features) as feature:
                first = builder.mul(feature.index, ir.Constant(INDEX, len(starts)))
                vectors = [
                    _load(builder, weights, builder.add(first, ir.Constant(INDEX, half + k))) for k in range(2)
                ]
                for i in range(4):
                    place = builder.add(builder.mul(n_features, ir.Constant(INDEX, i)), feature.index)
                    value = builder.load(builder.gep(samples, [place]))
                    factor = _same_in_all(builder, builder.fneg(value))
                    for total, vector in zip(sums[i], vectors, strict=True):
                        builder.store(_multiply_add(builder, factor, vector, builder.load(total)), total)
            for i in range(4):
                results[i] += [builder.load(total) for total in sums[i]]
        vectors_apart = builder.sdiv(stride, ir.Constant(INDEX, WIDTH))
        for i in range(4):
            for k, result in enumerate(results[i]):
                place = builder.mul(vectors_apart, ir.Constant(INDEX, i))
                place = builder.add(place, ir.Constant(INDEX, k))
                builder.store(result, builder.gep(target, [place])).align = 4
            builder.store(_lowest(builder, results[i]), builder.gep(lowest, [ir.Constant(INDEX, i)]))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def lowest_lane(typing_context, scores):
    """The lowest of 64 scores."""

    def codegen(context, builder, signature, arguments):
        return _lowest(builder, _load_lanes(builder, arguments[0]))

    return types.float32(types.intp), codegen


def _mask(builder, address, compare, value):
    """64 bits: which lanes compare so with a value."""
    wanted = _same_in_all(builder, value)
    mask = ir.Constant(INDEX, 0)
    for k, vector in enumerate(_load_lanes(builder, address)):
        bits = builder.bitcast(builder.fcmp_ordered(compare, vector, wanted), ir.IntType(WIDTH))
        mask = builder.or_(mask, builder.shl(builder.zext(bits, INDEX), ir.Constant(INDEX, k * WIDTH)))
    return mask


@intrinsic
def find_lane(typing_context, scores, value):
    """The first of 64 lanes that equals `value`; 64 where none does."""

    def codegen(context, builder, signature, arguments):
        return builder.cttz(_mask(builder, arguments[0], "==", arguments[1]), ir.Constant(ir.IntType(1), 0))

    return types.intp(types.intp, types.float32), codegen


@intrinsic
def lanes_within(typing_context, scores, limit):
    """64 bits: the lanes that are at most `limit`."""

    def codegen(context, builder, signature, arguments):
        return _mask(builder, arguments[0], "<=", arguments[1])

    return types.uint64(types.intp, types.float32), codegen


@intrinsic
def first_bit(typing_context, mask):
    """The number of the lowest bit that is set; 64 where none is."""

    def codegen(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.intp(types.uint64), codegen
