"""The GPU's path on a machine without one: its kernels compiled for the host, and NumPy in the place of CuPy."""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np

__all__ = ["HostDevice", "compiler"]

FOLDER = Path(__file__).parent
GUARD = 256  # bytes around each array; nothing may be written there
POISON = 0xA5


def compiler():
    """A C++ compiler for the host, or None."""
    return shutil.which("g++")


class DeviceArray(np.ndarray):
    """An array that counts as one in the memory of the device."""


class HostDevice:
    """Stands in for what `som_dask.engine.gpu` takes from the backend, and checks what real hardware would not.

    Arrays hold garbage until they are written and have guards on both sides. A kernel is refused arguments of other
    types than its own, and threads that do not meet at a barrier.
    """

    def __init__(self, folder, memory=2**30):
        self.folder, self.memory = Path(folder), memory
        self.guarded, self.uploads = [], []
        dtypes = {name: getattr(np, name) for name in ("float32", "float64", "int32", "uint64")}
        self.namespace = SimpleNamespace(
            empty=self.empty, zeros=self.zeros, ascontiguousarray=np.ascontiguousarray, sum=np.sum, **dtypes
        )

    def install(self, monkeypatch):
        """Make the package use it."""
        monkeypatch.setattr("som_dask.engine.gpu.compiled", self.compiled)
        monkeypatch.setattr("som_dask.engine.gpu.namespace_of", lambda array: self.namespace)
        monkeypatch.setattr("som_dask.engine.gpu.to_host", lambda array: np.array(array, subok=False))
        for module in ("engine.gpu", "passes.residency"):
            monkeypatch.setattr(f"som_dask.{module}.device_memory", lambda: self.memory)
            monkeypatch.setattr(f"som_dask.{module}.to_device", lambda array, device: self.to_device(array))
        return self

    def empty(self, shape, dtype):
        """An array of garbage."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        raw = np.full(size + 2 * GUARD + 16, POISON, dtype=np.uint8)
        start = GUARD + -(raw.ctypes.data + GUARD) % 16
        self.guarded.append((raw, start, start + size))
        return raw[start : start + size].view(dtype).reshape(shape).view(DeviceArray)

    def zeros(self, shape, dtype):
        """An array of zeros."""
        array = self.empty(shape, dtype)
        array[...] = 0
        return array

    def to_device(self, array):
        """A copy, unless it is there already."""
        if isinstance(array, DeviceArray):
            return array
        self.uploads.append(array.shape)
        copy = self.empty(array.shape, array.dtype)
        copy[...] = array
        return copy

    def intact(self):
        """Whether nothing was written beside an array."""
        return all((raw[:start] == POISON).all() and (raw[end:] == POISON).all() for raw, start, end in self.guarded)

    def compiled(self, source, options):
        """The kernels, compiled once for a source and its options."""
        defines = [option for option in options if option.startswith("-D")]
        name = hashlib.sha256(repr((source, defines)).encode()).hexdigest()[:16]
        library = self.folder / f"{name}.so"
        if not library.exists():
            kernels = self.folder / f"{name}.cu"
            kernels.write_text(source, encoding="utf-8")
            settings = ["-std=c++17", "-O2", "-march=native", "-ffp-contract=off", "-fno-strict-aliasing", "-w"]
            subprocess.run(
                [
                    *(compiler(), *settings, *defines, f'-DKERNELS="{kernels}"', "-shared", "-fPIC"),
                    *("-o", str(library), str(FOLDER / "kernels.cpp")),
                ],
                check=True,
            )
        code = ctypes.PyDLL(str(library))  # holds Python's lock: the fibers are those of one thread
        return SimpleNamespace(get_function=lambda kernel: self.kernel(code, kernel))

    def kernel(self, code, name):
        """One kernel, to be called as CuPy's are."""
        letters, run = getattr(code, f"letters_of_{name}"), getattr(code, f"run_{name}")
        letters.restype = ctypes.c_char_p
        expected = letters().decode()

        def launch(grid, block, arguments):
            found = "".join(letter_of(value) for value in arguments)
            assert len(found) == len(expected), name
            for k, (a, b) in enumerate(zip(found, expected, strict=True)):
                assert a == b or (b == "v" and a in "fd"), f"argument {k} of {name} is {a}, the kernel takes {b}"
            words = np.array([word_of(value) for value in arguments], dtype=np.uint64)
            sizes = np.array([*grid, 1, 1][:3], dtype=np.uint32)
            met = run(ctypes.c_void_p(sizes.ctypes.data), *block, ctypes.c_void_p(words.ctypes.data))
            assert met, f"threads of {name} do not meet at a barrier"

        return launch


def letter_of(value):
    """A letter for the type of an argument, as in cuda.h; "?" for what a kernel can't take."""
    if isinstance(value, np.ndarray):
        assert value.flags.c_contiguous
        return {"float32": "f", "float64": "d", "int32": "i", "uint64": "u"}.get(value.dtype.name, "?")
    return {np.int64: "L", np.float64: "D"}.get(type(value), "?")


def word_of(value):
    """An argument as 64 bits."""
    return value.ctypes.data if isinstance(value, np.ndarray) else int(value.view(np.uint64))
