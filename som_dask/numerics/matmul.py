"""Arithmetic that gives the same bits on every machine.

A sum that is rounded at each step depends on its order, and BLAS libraries choose theirs by the processor and the
number of threads; math libraries differ in the last bit of exp. Here each sum has one fixed order, and functions
are rounded from more digits than the result holds.
"""

# mypy: disable-error-code="no-untyped-def, call-arg, var-annotated"
from __future__ import annotations

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from decimal import Context, Decimal

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

__all__ = ["DIGITS", "exp", "product"]

# Decimal arithmetic is specified to the last digit, exp and ln included. A float64 holds 16 digits.
DIGITS = Context(prec=25)

WIDTH = 8  # of a vector of doubles: an AVX-512 register; LLVM splits it where registers are narrower
TILE = 6  # rows of a tile: its sums fill 12 of the 16 registers of AVX2, and 6 of the 32 of AVX-512
CHUNK = 16  # steps of a sum that are passed over together where they add nothing
STRETCH = 512  # steps of a sum that are done before the next tile
GROUP = 8  # vectors side by side whose part of b is held in the cache: 256 KiB
WORTH_A_THREAD = 1 << 20  # multiplications; below it handing work over takes a good part of the time

DOUBLE, INDEX, SHORT = ir.DoubleType(), ir.IntType(64), ir.IntType(32)
VECTOR = ir.VectorType(DOUBLE, WIDTH)
UNDEFINED = ir.Constant(VECTOR, ir.Undefined)


def exp(values: np.ndarray) -> np.ndarray:
    """exp, rounded from 25 digits: float64 of the same shape as `values`, float64 without NaN."""
    distinct, where = np.unique(values, return_inverse=True)
    table = [0.0 if v < -745.2 else float(DIGITS.exp(Decimal(v))) for v in distinct.tolist()]
    return np.array(table)[where].reshape(values.shape)


def product(a: np.ndarray, b: np.ndarray, onto: np.ndarray | None = None) -> np.ndarray:
    r"""The matrix product ``a @ b``, the same bits on every machine and for every number of threads.

    Each element is a chain of fused multiply-adds in ascending order of the inner index,
    ``s_0 = onto_ij``, ``s_{l+1} = fma(a_il, b_lj, s_l)``: one rounding a step (IEEE 754-2019, 5.4.1). Where a
    factor is zero a step changes nothing, and stretches of such steps are passed over, so a band matrix costs
    what its band does.

    Parameters
    ----------
    a : (m, k) float64, finite
    b : (k, n) float64, finite
    onto : (m, n) float64, C-contiguous, finite and without -0, optional
        Adds to this array, in place, instead of to zero.

    Returns
    -------
    (m, n) float64
        `onto` if it was given. Zeros are positive.

    Raises
    ------
    ValueError
        If the shapes do not fit, or `onto` is no C-contiguous float64 array.
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
    threads = min(_cores(), work // WORTH_A_THREAD) if work >= 2 * WORTH_A_THREAD else 1
    if threads <= 1:
        _multiply(a, b, onto, 0, shape[0], 0, shape[1])
        return onto
    by_rows = shape[0] * WIDTH > shape[1] * TILE
    unit, length = (TILE, shape[0]) if by_rows else (WIDTH, shape[1])
    ends = [min(-(-length // unit) * i // threads * unit, length) for i in range(threads + 1)]
    parts = [(*ends[i : i + 2], 0, shape[1]) if by_rows else (0, shape[0], *ends[i : i + 2]) for i in range(threads)]
    pool = _pool(os.getpid())
    running = [pool.submit(_multiply, a, b, onto, *part) for part in parts[1:]]
    _multiply(a, b, onto, *parts[0])
    for part in running:
        part.result()
    return onto


def _cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads for large products, kept because starting them takes longer than many a product.

    By process, because threads do not live on in a fork.
    """
    return ThreadPoolExecutor(_cores(), thread_name_prefix="product")


def _fused(builder, a, b, c):
    """``a * b + c``, rounded once; not fmuladd, which LLVM may round twice."""
    name = f"llvm.fma.v{WIDTH}f64"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(VECTOR, [VECTOR] * 3), name)
    return builder.call(function, [a, b, c])


def _row_pointers(builder, address, row_bytes, last):
    """Pointers to the rows of a tile. Those below its last row point to that one, and so repeat its work."""
    pointers = []
    for i in range(TILE):
        row = ir.Constant(INDEX, i)
        row = builder.select(builder.icmp_signed("<", row, last), row, last)
        pointers.append(builder.inttoptr(builder.add(address, builder.mul(row, row_bytes)), DOUBLE.as_pointer()))
    return pointers


@intrinsic
def _add_tile(typing_context, a, a_row_bytes, last, b, start, stop, c, c_row_bytes):
    """``c[i, :8] += a[i, start:stop] @ b[start:stop, :8]`` for rows i = 0 .. last < 6.

    Arguments but the numbers `last`, `start` and `stop` are addresses and distances of rows in bytes; rows of b
    are 8 doubles.
    """
    signature = types.void(*[types.intp] * 8)

    def codegen(context, builder, signature, arguments):
        a, a_row_bytes, last, b, start, stop, c, c_row_bytes = arguments
        factors = _row_pointers(builder, a, a_row_bytes, last)
        targets = [
            builder.bitcast(pointer, VECTOR.as_pointer()) for pointer in _row_pointers(builder, c, c_row_bytes, last)
        ]
        vectors = builder.inttoptr(b, VECTOR.as_pointer())
        # LLVM turns these variables into registers.
        sums = []
        for target in targets:
            value = builder.load(target)
            value.align = 8
            sums.append(cgutils.alloca_once_value(builder, value))
        with cgutils.for_range_slice(builder, start, stop, ir.Constant(INDEX, 1)) as (step, _):
            vector = builder.load(builder.gep(vectors, [step]))
            vector.align = 8
            for factor, total in zip(factors, sums, strict=True):
                value = builder.load(builder.gep(factor, [step]))
                same = builder.insert_element(UNDEFINED, value, ir.Constant(SHORT, 0))
                zeros = ir.Constant(ir.VectorType(SHORT, WIDTH), [0] * WIDTH)
                same = builder.shuffle_vector(same, UNDEFINED, zeros)
                builder.store(_fused(builder, same, vector, builder.load(total)), total)
        zero = ir.Constant(VECTOR, [0.0] * WIDTH)
        for total, target in zip(sums, targets, strict=True):
            # -0 becomes 0: a step with a zero factor would do that too, and may have been passed over.
            builder.store(builder.fadd(builder.load(total), zero), target).align = 8
        return context.get_dummy_value()

    return signature, codegen


@numba.njit(nogil=True, cache=True)
def _any(matrix, row_start, row_stop, col_start, col_stop):
    for i in range(row_start, row_stop):
        for j in range(col_start, col_stop):
            if matrix[i, j] != 0.0:
                return True
    return False


@numba.njit(nogil=True, cache=True)
def _multiply(a, b, c, row_start, row_stop, col_start, col_stop):
    """``c += a @ b`` in some rows and columns of c."""
    n_tiles = (row_stop - row_start + TILE - 1) // TILE
    length = min(STRETCH, a.shape[1])
    n_chunks = (length + CHUNK - 1) // CHUNK
    in_a = np.empty((n_tiles, n_chunks), dtype=np.bool_)
    in_b = np.empty((GROUP, n_chunks), dtype=np.bool_)
    packed = np.empty((GROUP, length, WIDTH))
    edge = np.zeros((TILE, WIDTH))  # where a tile is narrower than a vector
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
    """Copy a part of b so that the columns of a tile lie side by side, and note where it is not zero."""
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
