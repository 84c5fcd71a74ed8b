"""Vector operations on the row of one sample: its whole numbers, and the neighbors of its node.

See `som_dask.engine.lanes` for the arguments that are addresses.
"""

# mypy: disable-error-code="no-untyped-def, var-annotated"
from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from som_dask.numerics.fixed_point import LIMB_BITS
from som_dask.numerics.simd import DOUBLE, INDEX, Vectors

__all__ = ["NEIGHBORS", "add_whole_numbers", "is_among"]

WIDTH = 8  # numbers that fill a register of AVX-512
NEIGHBORS = WIDTH  # of a node, as the table of a lattice has them


@intrinsic
def add_whole_numbers(typing_context, values, count, factors, limit, limbs):
    """Add numbers to sums of two limbs; see `som_dask.numerics.fixed_point.FixedPoint`.

    Parameters
    ----------
    values : (count,) float64
    count : int
    factors : (2, count) float64
    limit : float64
        What a scaled number must stay below.
    limbs : (2, count) int64
        Added to in place.

    Returns
    -------
    int
        How many numbers are beyond the limit.
    """
    signature = types.intp(types.intp, types.intp, types.intp, types.float64, types.intp)

    def codegen(context, builder, signature, arguments):
        values, count, factors, limit, limbs = arguments
        values, factors = (builder.inttoptr(address, DOUBLE.as_pointer()) for address in (values, factors))
        limbs = builder.inttoptr(limbs, INDEX.as_pointer())
        outside = cgutils.alloca_once_value(builder, ir.Constant(INDEX, 0))

        def add(width, first):
            doubles, whole_numbers = Vectors(DOUBLE, width), Vectors(INDEX, width)
            second = builder.add(first, count)

            def at(kind, pointer, index):
                return builder.bitcast(builder.gep(pointer, [index]), kind.type.as_pointer())

            scaled = doubles.load(builder, at(doubles, values, first))
            for place in (first, second):
                scaled = builder.fmul(scaled, doubles.load(builder, at(doubles, factors, place)))
            inside = builder.fcmp_ordered("<", doubles.call(builder, "fabs", scaled), doubles.repeat(builder, limit))
            bits = builder.zext(builder.bitcast(builder.not_(inside), ir.IntType(width)), INDEX)
            builder.store(builder.add(builder.load(outside), builder.ctpop(bits)), outside)
            for place in (first, second):
                whole = builder.fptosi(scaled, whole_numbers.type)
                pointer = at(whole_numbers, limbs, place)
                total = builder.add(whole_numbers.load(builder, pointer), whole)
                whole_numbers.store(builder, total, pointer)
                rest = builder.fsub(scaled, builder.sitofp(whole, doubles.type))
                scaled = builder.fmul(rest, doubles.constant(2.0**LIMB_BITS))

        with cgutils.for_range(builder, builder.sdiv(count, ir.Constant(INDEX, WIDTH))) as vector:
            add(WIDTH, builder.mul(vector.index, ir.Constant(INDEX, WIDTH)))
        first, width = builder.and_(count, ir.Constant(INDEX, -WIDTH)), WIDTH // 2
        while width:  # the rest by the bits of its number
            bit = builder.and_(count, ir.Constant(INDEX, width))
            with builder.if_then(builder.icmp_signed("!=", bit, ir.Constant(INDEX, 0))):
                add(width, first)
            first, width = builder.add(first, bit), width // 2
        return builder.load(outside)

    return signature, codegen


@intrinsic
def is_among(typing_context, number, numbers):
    """Whether an int64 is among eight, of which `numbers` is the address."""
    signature = types.boolean(types.int64, types.intp)

    def codegen(context, builder, signature, arguments):
        number, numbers = arguments
        vectors = Vectors(INDEX, NEIGHBORS)
        row = vectors.load(builder, vectors.point(builder, numbers))
        equal = builder.icmp_signed("==", row, vectors.repeat(builder, number))
        none = ir.Constant(ir.IntType(NEIGHBORS), 0)
        return builder.icmp_unsigned("!=", builder.bitcast(equal, ir.IntType(NEIGHBORS)), none)

    return signature, codegen
