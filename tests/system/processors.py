"""Other processors, stood in for on this one: NumPy, BLAS and numba are told to use older instructions only."""

import json
import os
import platform
import subprocess
import sys

import numpy as np

AVX2 = "+64bit,+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+bmi,+bmi2,+lzcnt,+f16c,+movbe,+cx16"
# Names of NumPy's dispatch groups differ between its releases; these are those that this one found here.
FOUND = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
AVX512 = [name for name in FOUND if "AVX512" in name or name == "X86_V4"]

PROCESSORS = {
    "this one": {},
    "BLAS in one thread": {"OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
    "SSE3 in BLAS": {"OPENBLAS_CORETYPE": "Prescott"},
    "SSE4": {
        "OPENBLAS_CORETYPE": "Nehalem",
        "NPY_DISABLE_CPU_FEATURES": " ".join(FOUND),
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "+sse2",
    },
    "AVX2": {
        "OPENBLAS_CORETYPE": "Haswell",
        "NPY_DISABLE_CPU_FEATURES": " ".join(AVX512),
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": AVX2,
    },
}

# What the libraries of a process really use.
REPORT = """
import json
import numpy
import threadpoolctl
from numba.core.registry import cpu_target
print(json.dumps({
    "blas": sorted({info.get("architecture", "") for info in threadpoolctl.threadpool_info()}),
    "numpy": numpy.show_config(mode="dicts")["SIMD Extensions"].get("found", []),
    "numba": cpu_target.target_context.codegen().magic_tuple()[1:],
}))
"""


def hashes_under(settings, script, folder):
    """Run a script in a new process that is set to another processor.

    Parameters
    ----------
    settings : dict of str
        Variables of the environment, such as the values of `PROCESSORS`.
    script : str
        Python source that prints what is to be compared.
    folder : path
        Compiled functions are kept in it, apart from those of other settings.

    Returns
    -------
    printed : list of str
        Lines that the script printed.
    report : dict
        What was really in use: names under "blas", "numpy" and "numba".
    """
    known = {name: value for name, value in os.environ.items() if name not in set().union(*PROCESSORS.values())}
    compiled = {"NUMBA_CACHE_DIR": str(folder)} if any(name.startswith("NUMBA_CPU") for name in settings) else {}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", REPORT + script],
        env={**known, **compiled, **settings, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    report, *printed = result.stdout.splitlines()
    return printed, json.loads(report)


def exists_here(name):
    """Whether this processor can stand in for another."""
    if name in {"this one", "BLAS in one thread"}:
        return True
    avx2 = bool({"X86_V3", "AVX2"} & set(FOUND))
    return platform.machine().lower() in {"x86_64", "amd64"} and (avx2 or name != "AVX2")
