"""Matrix products that are the same bits on every machine.

A sum that is rounded at each step depends on the order of adding, and BLAS libraries choose theirs by the processor
and the number of threads. Here each sum has one fixed order.
"""

# mypy: disable-error-code="no-untyped-def, call-arg, var-annotated"
from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from som_dask.numerics.simd import DOUBLE, INDEX, Vectors
from som_dask.numerics.threads import core_count, run_in_threads

__all__ = ["WORTH_A_THREAD", "product"]

WIDTH = 8
DOUBLES = Vectors(DOUBLE, WIDTH)
TILE = 6  # rows of a tile: its sums fill 12 of the 16 registers of AVX2, and 6 of the 32 of AVX-512
CHUNK = 16  # steps of a sum that are skipped together if they add nothing
STRETCH = 512  # steps of a sum that are done before turning to the next tile
GROUP = 8  # panels, each a vector wide, of b that are held in the cache together: 256 KiB
WORTH_A_THREAD = 1 << 20  # multiplications; with fewer, handing them to a thread takes a good part of the time


def product(a: np.ndarray, b: np.ndarray, onto: np.ndarray | None = None, *, alone: bool = False) -> np.ndarray:
    r"""Compute the matrix product ``a @ b``, the same bits on every machine and for any number of threads.

    Each element is a chain of fused multiply-adds in ascending order of the inner index,
    ``s_0 = onto_ij``, ``s_{l+1} = fma(a_il, b_lj, s_l)``, with one rounding in each step (IEEE 754-2019, 5.4.1). A
    step in which a factor is zero changes nothing. Runs of such steps are skipped, so a band matrix costs only what
    its band does.

    Parameters
    ----------
    a : (m, k) float64, finite
    b : (k, n) float64, finite
    onto : (m, n) float64, C-contiguous, finite and without -0, optional
        The product is added to this array, in place, instead of to zero.
    alone : bool
        Whether the calling thread does all the work, because others like it fill the cores.

    Returns
    -------
    (m, n) float64
        `onto`, if given, else a new array. No element is -0.

    Raises
    ------
    ValueError
        If the shapes do not match, or if `onto` is not a C-contiguous float64 array.
    """
    a, b = (np.ascontiguousarray(matrix, dtype=np.float64) for matrix in (a, b))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"shapes {a.shape} and {b.shape} make no matrix product")
    shape = a.shape[0], b.shape[1]
    if onto is None:
        onto = np.zeros(shape)
    elif onto.shape != shape or onto.dtype != np.float64 or not onto.flags.c_contiguous:
        raise ValueError(f"a product of shape {shape} adds to a C-contiguous float64 array of this shape only")
    work = a.size * shape[1]
    threads = 1 if alone or work < 2 * WORTH_A_THREAD else min(core_count(), work // WORTH_A_THREAD)
    by_rows = shape[0] * WIDTH > shape[1] * TILE
    unit, length = (TILE, shape[0]) if by_rows else (WIDTH, shape[1])
    ends = [min(-(-length // unit) * i // threads * unit, length) for i in range(threads + 1)]
    ranges = [(*ends[i : i + 2], 0, shape[1]) if by_rows else (0, shape[0], *ends[i : i + 2]) for i in range(threads)]
    run_in_threads(_multiply, [(a, b, onto, *part) for part in ranges])
    return onto


def _row_pointers(builder, address, row_bytes, last):
    """Return pointers to the 6 rows of a tile.

    If the tile has fewer rows, the remaining pointers point to its last row, whose work is then repeated.
    """
    pointers = []
    for i in range(TILE):
        row = ir.Constant(INDEX, i)
        row = builder.select(builder.icmp_signed("<", row, last), row, last)
        pointers.append(builder.inttoptr(builder.add(address, builder.mul(row, row_bytes)), DOUBLE.as_pointer()))
    return pointers


@intrinsic
def _add_tile(typing_context, a, a_row_bytes, last, b, start, stop, c, c_row_bytes):
    """``c[i, :8] += a[i, start:stop] @ b[start:stop, :8]`` for rows i = 0 .. last < 6.

    `last`, `start` and `stop` are numbers of rows; the other arguments are addresses, or distances between rows in
    bytes. A row of b has 8 doubles.
    """
    signature = types.void(*[types.intp] * 8)

    def codegen(context, builder, signature, arguments):
        a, a_row_bytes, last, b, start, stop, c, c_row_bytes = arguments
        factors = _row_pointers(builder, a, a_row_bytes, last)
        targets = [
            builder.bitcast(pointer, DOUBLES.type.as_pointer())
            for pointer in _row_pointers(builder, c, c_row_bytes, last)
        ]
        vectors = DOUBLES.point(builder, b)
        # LLVM turns these variables into registers.
        sums = [cgutils.alloca_once_value(builder, DOUBLES.load(builder, target)) for target in targets]
        with cgutils.for_range_slice(builder, start, stop, ir.Constant(INDEX, 1)) as (step, _):
            vector = DOUBLES.load(builder, vectors, step)
            for factor, total in zip(factors, sums, strict=True):
                same = DOUBLES.repeat(builder, builder.load(builder.gep(factor, [step])))
                # fma rounds once; fmuladd may be rounded twice.
                builder.store(DOUBLES.call(builder, "fma", same, vector, builder.load(total)), total)
        for total, target in zip(sums, targets, strict=True):
            # Turn -0 into 0. A step with a zero factor would do so as well, but may have been skipped.
            DOUBLES.store(builder, builder.fadd(builder.load(total), DOUBLES.constant(0.0)), target)
        return context.get_dummy_value()

    return signature, codegen


@numba.njit(nogil=True, cache=True)
def _any(matrix, row_start, row_stop, col_start, col_stop):
    """Return whether a part of a matrix has an element other than zero."""
    for i in range(row_start, row_stop):
        for j in range(col_start, col_stop):
            if matrix[i, j] != 0.0:
                return True
    return False


@numba.njit(nogil=True, cache=True)
def _multiply(a, b, c, row_start, row_stop, col_start, col_stop):
    """Compute ``c += a @ b`` for some rows and columns of `c`."""
    n_tiles = (row_stop - row_start + TILE - 1) // TILE
    length = min(STRETCH, a.shape[1])
    n_chunks = (length + CHUNK - 1) // CHUNK
    in_a = np.empty((n_tiles, n_chunks), dtype=np.bool_)
    in_b = np.empty((GROUP, n_chunks), dtype=np.bool_)
    packed = np.empty((GROUP, length, WIDTH))
    edge = np.zeros((TILE, WIDTH))  # stands in for a tile of c that is narrower than a vector
    for first in range(0, a.shape[1], STRETCH):
        steps = min(STRETCH, a.shape[1] - first)
        n_chunks = (steps + CHUNK - 1) // CHUNK
        for tile in range(n_tiles):
            row = row_start + tile * TILE
            for chunk in range(n_chunks):
                low = first + chunk * CHUNK
                in_a[tile, chunk] = _any(a, row, min(row + TILE, row_stop), low, min(low + CHUNK, first + steps))
        for left in range(col_start, col_stop, GROUP * WIDTH):
            right = min(left + GROUP * WIDTH, col_stop)
            n_panels = (right - left + WIDTH - 1) // WIDTH
            _pack(b, first, steps, left, right, packed, in_b)
            for tile in range(n_tiles):
                row = row_start + tile * TILE
                last = min(row_stop - row, TILE) - 1
                for panel in range(n_panels):
                    col = left + panel * WIDTH
                    width = min(WIDTH, right - col)
                    chunk = 0
                    while chunk < n_chunks:
                        if not (in_a[tile, chunk] and in_b[panel, chunk]):
                            chunk += 1
                            continue
                        low = chunk * CHUNK
                        while chunk < n_chunks and in_a[tile, chunk] and in_b[panel, chunk]:
                            chunk += 1
                        high = min(chunk * CHUNK, steps)
                        factors = a.ctypes.data + (row * a.shape[1] + first) * 8
                        vectors = packed.ctypes.data + panel * packed.shape[1] * WIDTH * 8
                        row_bytes = a.shape[1] * 8
                        if width == WIDTH:
                            target = c.ctypes.data + (row * c.shape[1] + col) * 8
                            _add_tile(factors, row_bytes, last, vectors, low, high, target, c.shape[1] * 8)
                        else:
                            for i in range(last + 1):
                                for j in range(width):
                                    edge[i, j] = c[row + i, col + j]
                            _add_tile(factors, row_bytes, last, vectors, low, high, edge.ctypes.data, WIDTH * 8)
                            for i in range(last + 1):
                                for j in range(width):
                                    c[row + i, col + j] = edge[i, j]


@numba.njit(nogil=True, cache=True)
def _pack(b, first, steps, left, right, packed, in_b):
    """Copy a part of `b` into panels of 8 columns, and note which chunks of them are not all zero.

    Parameters
    ----------
    b : (k, n) float64
    first, steps : int
        First row of the part, and its number of rows.
    left, right : int
        Its columns.
    packed : (GROUP, >= steps, 8) float64
        Filled; columns beyond `right` with zeros.
    in_b : (GROUP, chunks) bool
        Filled.
    """
    for col in range(left, right, WIDTH):
        panel = (col - left) // WIDTH
        width = min(WIDTH, right - col)
        if width == WIDTH:
            for step in range(steps):
                for j in range(WIDTH):
                    packed[panel, step, j] = b[first + step, col + j]
        else:
            for step in range(steps):
                for j in range(WIDTH):
                    packed[panel, step, j] = b[first + step, col + j] if j < width else 0.0
        for chunk in range((steps + CHUNK - 1) // CHUNK):
            in_b[panel, chunk] = _any(packed[panel], chunk * CHUNK, min(chunk * CHUNK + CHUNK, steps), 0, WIDTH)
