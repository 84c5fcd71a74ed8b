"""Vector operations on float32 lanes, for the innermost loops of the search.

A lane holds a node of a patch (64 of them), or a sample (16). Written in LLVM's vector types through numba, because
no loop that numba is given keeps so many running scores in registers: these are 5 to 25 times faster than the plain
loops that their tests hold them against. They are
compiled for the machine they run on (AVX-512, AVX2, NEON ...) and need no compiler to be installed. Arguments are
addresses, ``array.ctypes.data``, of float32 data without gaps.
"""

# mypy: disable-error-code="no-untyped-def, var-annotated"
from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

__all__ = [
    "LANES",
    "TOGETHER",
    "bound_patches",
    "find_lane",
    "first_bit",
    "lanes_within",
    "lowest_lane",
    "score_four",
    "score_lanes",
    "score_samples",
]

LANES = 64
WIDTH = 16  # of one vector: an AVX-512 register; LLVM splits it where registers are narrower
FLOAT, INDEX, SHORT = ir.FloatType(), ir.IntType(64), ir.IntType(32)
VECTOR = ir.VectorType(FLOAT, WIDTH)
UNDEFINED = ir.Constant(VECTOR, ir.Undefined)
TOGETHER = WIDTH  # samples that `score_samples` takes
AT_ONCE = 8  # nodes whose scores it adds up at the same time: enough to hide how long an addition takes


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


def _higher(builder, a, b):
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


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
def score_samples(typing_context, samples, n_features, weights, half_norms, first_number, best, numbers):
    """Scores of 16 samples and the 64 nodes of a patch, entered into the lowest that each sample has so far.

    ``score = half_norms[l] + sum_j samples[j, i] * weights[j, l]`` for sample i and node l, whose number is
    ``first_number + l``. On equal scores the one entered first stays.

    Parameters
    ----------
    samples : (n_features, 16) float32
        With their signs changed.
    weights : (n_features, 64) float32
    half_norms : (64,) float32
    best : (3, 16) float32
        The three lowest scores of each sample, ascending; changed in place.
    numbers : (2, 16) int32
        Of the nodes that have the two lowest; changed in place.
    """
    signature = types.void(*[types.intp] * 7)
    whole = ir.VectorType(SHORT, WIDTH)

    def codegen(context, builder, signature, arguments):
        samples, n_features, weights, half_norms, first_number, best, numbers = arguments
        samples, best = _vectors(builder, samples), _vectors(builder, best)
        weights = builder.inttoptr(weights, FLOAT.as_pointer())
        half_norms = builder.inttoptr(half_norms, FLOAT.as_pointer())
        numbers = builder.inttoptr(numbers, whole.as_pointer())
        first_number = builder.trunc(first_number, SHORT)

        def places(pointer, count):
            return [builder.gep(pointer, [ir.Constant(INDEX, k)]) for k in range(count)]

        def loaded(pointer):
            value = builder.load(pointer)
            value.align = 4
            return cgutils.alloca_once_value(builder, value)

        kept = [loaded(place) for place in places(best, 3) + places(numbers, 2)]
        with cgutils.for_range(builder, ir.Constant(INDEX, LANES // AT_ONCE)) as group:
            base = builder.mul(group.index, ir.Constant(INDEX, AT_ONCE))
            sums = []
            for k in range(AT_ONCE):
                place = builder.gep(half_norms, [builder.add(base, ir.Constant(INDEX, k))])
                sums.append(cgutils.alloca_once_value(builder, _same_in_all(builder, builder.load(place))))
            with cgutils.for_range(builder, n_features) as feature:
                row = builder.add(builder.mul(feature.index, ir.Constant(INDEX, LANES)), base)
                values = _load(builder, samples, feature.index)
                for k, total in enumerate(sums):
                    weight = builder.load(builder.gep(weights, [builder.add(row, ir.Constant(INDEX, k))]))
                    factor = _same_in_all(builder, weight)
                    builder.store(_multiply_add(builder, values, factor, builder.load(total)), total)
            scores = [builder.load(total) for total in sums]
            # Most nodes are nobody's third best: only where one is, all are looked at.
            lowest = scores
            while len(lowest) > 1:
                lowest = [_lower(builder, a, b) for a, b in zip(lowest[::2], lowest[1::2], strict=True)]
            hits = builder.fcmp_ordered("<", lowest[0], builder.load(kept[2]))
            hits = builder.bitcast(hits, ir.IntType(WIDTH))
            with builder.if_then(builder.icmp_unsigned("!=", hits, ir.Constant(ir.IntType(WIDTH), 0))):
                for k, score in enumerate(scores):
                    number = builder.add(base, ir.Constant(INDEX, k))
                    _enter(builder, score, builder.add(first_number, builder.trunc(number, SHORT)), kept)
        for value, place in zip(kept, places(best, 3) + places(numbers, 2), strict=True):
            builder.store(builder.load(value), place).align = 4
        return context.get_dummy_value()

    return signature, codegen


def _enter(builder, score, number, kept):
    """Enter scores into the three lowest and the numbers of the two lowest."""
    least, second, third, its, seconds = [builder.load(place) for place in kept]
    undefined = ir.Constant(ir.VectorType(SHORT, WIDTH), ir.Undefined)
    number = builder.insert_element(undefined, number, ir.Constant(SHORT, 0))
    number = builder.shuffle_vector(number, undefined, ir.Constant(ir.VectorType(SHORT, WIDTH), [0] * WIDTH))
    first, below = builder.fcmp_ordered("<", score, least), builder.fcmp_ordered("<", score, second)
    above_least, above_second = _higher(builder, score, least), _higher(builder, score, second)
    builder.store(_lower(builder, third, above_second), kept[2])
    builder.store(_lower(builder, second, above_least), kept[1])
    builder.store(_lower(builder, least, score), kept[0])
    builder.store(builder.select(first, its, builder.select(below, number, seconds)), kept[4])
    builder.store(builder.select(first, number, its), kept[3])


@intrinsic
def bound_patches(typing_context, squared, product, box, count, lower):
    """Lower bounds of the squared distances of a sample x to the nodes of all patches; returns the lowest.

    With a = t . (x - c) along both directions t of a patch's plane through c, a node of it lies no nearer than
    ``out_1^2 + out_2^2 + max(sqrt(|x - c|^2 - a_1^2 - a_2^2) - thickness, 0)^2``, where out is how far a is outside
    of the patch's ends.

    Parameters
    ----------
    squared : float32
        |x|^2
    product : (3, count) float32
        ``|c|^2 - 2 x . c`` and both a of every patch.
    box : (5, count) float32
        Low and high end in the first direction, in the second, and the thickness.
    count : int
        A multiple of 16.
    lower : (count,) float32
        Filled.
    """
    signature = types.float32(types.float32, types.intp, types.intp, types.intp, types.intp)

    def codegen(context, builder, signature, arguments):
        squared, product, box, count, lower = arguments
        product, box, lower = (_vectors(builder, address) for address in (product, box, lower))
        squared = _same_in_all(builder, squared)
        nothing = ir.Constant(VECTOR, [0.0] * WIDTH)
        root = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(VECTOR, [VECTOR]), f"llvm.sqrt.v{WIDTH}f32"
        )
        vectors = builder.sdiv(count, ir.Constant(INDEX, WIDTH))
        lowest = cgutils.alloca_once_value(builder, ir.Constant(VECTOR, [float("inf")] * WIDTH))
        with cgutils.for_range(builder, vectors) as patches:

            def row(table, k):
                return _load(builder, table, builder.add(builder.mul(vectors, ir.Constant(INDEX, k)), patches.index))

            above = builder.fadd(row(product, 0), squared)
            outside = []
            for k in range(2):
                along = row(product, k + 1)
                above = _multiply_add(builder, builder.fneg(along), along, above)
                low, high = builder.fsub(row(box, 2 * k), along), builder.fsub(along, row(box, 2 * k + 1))
                outside.append(_higher(builder, _higher(builder, low, high), nothing))
            distance = builder.call(root, [_higher(builder, above, nothing)])
            clear = _higher(builder, builder.fsub(distance, row(box, 4)), nothing)
            bound = builder.fmul(clear, clear)
            for out in outside:
                bound = _multiply_add(builder, out, out, bound)
            builder.store(bound, builder.gep(lower, [patches.index])).align = 4
            builder.store(_lower(builder, bound, builder.load(lowest)), lowest)
        return _lowest(builder, [builder.load(lowest)])

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
