"""LLVM's vector types, for innermost loops that numba does not vectorize well by itself.

The methods here are called while numba compiles an intrinsic, and emit instructions into it. The code is compiled for
the machine that it runs on (AVX-512, AVX2, NEON ...) and does not need a C compiler.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir
from numba.core import cgutils

__all__ = ["DOUBLE", "FLOAT", "INDEX", "SHORT", "Vectors"]

DOUBLE, FLOAT, INDEX, SHORT = ir.DoubleType(), ir.FloatType(), ir.IntType(64), ir.IntType(32)
BYTES = {DOUBLE: 8, FLOAT: 4, INDEX: 8, SHORT: 4}


@dataclass(frozen=True)
class Vectors:
    """Vectors of `width` elements, and the instructions on them.

    Vectors in memory lie one after the other, without gaps, and need only be aligned as their elements are.

    Attributes
    ----------
    element : llvmlite type
        `DOUBLE`, `FLOAT`, `INDEX` or `SHORT`.
    width : int
        Number of elements. It should fill a register of AVX-512 (64 bytes); LLVM splits a vector where the machine's
        registers are narrower.
    """

    element: ir.Type
    width: int

    @property
    def type(self):
        """The LLVM type of one vector."""
        return ir.VectorType(self.element, self.width)

    def constant(self, value):
        """Return a vector with the Python number `value` in every place."""
        return ir.Constant(self.type, [value] * self.width)

    def repeat(self, builder, scalar):
        """Return a vector with the LLVM value `scalar` in every place."""
        undefined = ir.Constant(self.type, ir.Undefined)
        vector = builder.insert_element(undefined, scalar, ir.Constant(SHORT, 0))
        return builder.shuffle_vector(vector, undefined, Vectors(SHORT, self.width).constant(0))

    def point(self, builder, address):
        """Turn an address, an integer, into a pointer to vectors."""
        return builder.inttoptr(address, self.type.as_pointer())

    def load(self, builder, pointer, index=0):
        """Load the vector numbered `index`, an int or an LLVM value, after `pointer`."""
        vector = builder.load(_place(builder, pointer, index))
        vector.align = BYTES[self.element]
        return vector

    def store(self, builder, vector, pointer, index=0):
        """Store a vector where `load` with the same `pointer` and `index` finds it."""
        builder.store(vector, _place(builder, pointer, index)).align = BYTES[self.element]

    def call(self, builder, name, *vectors):
        """Call the LLVM intrinsic `name` ("fma", "sqrt" ...) on vectors; it returns a vector."""
        function_type = ir.FunctionType(self.type, [self.type] * len(vectors))
        suffix = f"v{self.width}{self.element.intrinsic_name}"
        function = cgutils.get_or_insert_function(builder.module, function_type, f"llvm.{name}.{suffix}")
        return builder.call(function, vectors)

    def lower(self, builder, a, b):
        """Return the lower of each two elements of floating-point vectors; that of `b` where they are equal."""
        return builder.select(builder.fcmp_ordered("<", a, b), a, b)

    def higher(self, builder, a, b):
        """Return the higher of each two elements of floating-point vectors; that of `b` where they are equal."""
        return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _place(builder, pointer, index):
    """Advance a pointer by `index` elements of what it points to."""
    return builder.gep(pointer, [ir.Constant(INDEX, index) if isinstance(index, int) else index])
