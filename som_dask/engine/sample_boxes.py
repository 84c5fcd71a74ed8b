"""How far 16 samples side by side are from boxes around nodes, each sample in a lane of float32 vectors.

See `som_dask.engine.lanes` for the arguments that are addresses.
"""

# mypy: disable-error-code="no-untyped-def, var-annotated"
from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from som_dask.engine.sample_lanes import FLOATS
from som_dask.numerics.simd import FLOAT, INDEX

__all__ = ["BOX", "DIRECTIONS", "bound_boxes", "project_samples"]

DIRECTIONS = 3  # that samples are projected on at a time
BOX = 6  # numbers that describe a box


@intrinsic
def project_samples(typing_context, samples, n_features, frame, products):
    """Multiply 16 samples by three vectors: ``products[k, i] = sum_j samples[j, i] * frame[j, k]``.

    Parameters
    ----------
    samples : (n_features, 16) float32
    n_features : int
    frame : (n_features, 3) float32
    products : (3, 16) float32
        Filled.
    """
    signature = types.void(*[types.intp] * 4)

    def codegen(context, builder, signature, arguments):
        samples, n_features, frame, products = arguments
        samples, products = FLOATS.point(builder, samples), FLOATS.point(builder, products)
        frame = builder.inttoptr(frame, FLOAT.as_pointer())
        sums = [cgutils.alloca_once_value(builder, FLOATS.constant(0.0)) for _ in range(DIRECTIONS)]
        with cgutils.for_range(builder, n_features) as feature:
            values = FLOATS.load(builder, samples, feature.index)
            first = builder.mul(feature.index, ir.Constant(INDEX, DIRECTIONS))
            for k, total in enumerate(sums):
                factor = FLOATS.repeat(builder, _number(builder, frame, first, k))
                builder.store(FLOATS.call(builder, "fmuladd", values, factor, builder.load(total)), total)
        for k, total in enumerate(sums):
            FLOATS.store(builder, builder.load(total), products, k)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def bound_boxes(typing_context, places, boxes, count, lowest):
    """Bound the squared distances from 16 samples to all nodes of some boxes.

    Parameters
    ----------
    places : (4, 16) float32
        Where the samples are: along two directions, and a lower and an upper end of their distance from the plane
        that these span.
    boxes : (count, 6) float32
        Low and high end of the nodes of each box along both directions, and of their distances from the plane.
    count : int
    lowest : (16,) float32
        Filled with the lowest of ``out_1^2 + out_2^2 + out_3^2``, how far a sample lies outside of the ends.
    """
    signature = types.void(*[types.intp] * 4)

    def codegen(context, builder, signature, arguments):
        places, boxes, count, lowest = arguments
        places, lowest = FLOATS.point(builder, places), FLOATS.point(builder, lowest)
        boxes = builder.inttoptr(boxes, FLOAT.as_pointer())
        along, across, least_off, most_off = [FLOATS.load(builder, places, k) for k in range(4)]
        nearest = cgutils.alloca_once_value(builder, FLOATS.constant(float("inf")))
        nothing = FLOATS.constant(0.0)
        with cgutils.for_range(builder, count) as box:
            first = builder.mul(box.index, ir.Constant(INDEX, BOX))
            bound = nothing
            for k, (least, most) in enumerate(((along, along), (across, across), (least_off, most_off))):
                start = FLOATS.repeat(builder, _number(builder, boxes, first, 2 * k))
                end = FLOATS.repeat(builder, _number(builder, boxes, first, 2 * k + 1))
                out = FLOATS.higher(builder, builder.fsub(start, most), builder.fsub(least, end))
                out = FLOATS.higher(builder, out, nothing)
                bound = FLOATS.call(builder, "fmuladd", out, out, bound)
            builder.store(FLOATS.lower(builder, bound, builder.load(nearest)), nearest)
        FLOATS.store(builder, builder.load(nearest), lowest)
        return context.get_dummy_value()

    return signature, codegen


def _number(builder, table, first, k):
    """One float32 of a table."""
    return builder.load(builder.gep(table, [builder.add(first, ir.Constant(INDEX, k))]))
