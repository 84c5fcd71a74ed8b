"""What an image brings along: compiled code for all that is usual."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# In a process of its own, in which nothing has been called yet.
CHILD = """
import gc
import numpy as np
from numba.core.dispatcher import Dispatcher
from som_dask import KohonenMap
from som_dask.cli.warm_up import warm_up

def variants():
    own = [each for each in gc.get_objects() if isinstance(each, Dispatcher)
           and each.py_func.__module__.startswith("som_dask.")]
    return {f"{each.py_func.__qualname__}{signature}" for each in own for signature in each.signatures}

warm_up()
before = variants()
assert len(before) > 20
data = np.random.default_rng(1).random((500, 7))
weights = data[:, 0].copy()
data[::9, 3] = np.nan
for missing, options in (("drop", {"scaling": "zscore"}), ("mask", {}), ("mask", {"sample_weights": weights})):
    trained = KohonenMap(9, 30, boundary="cylindrical").train(data, epochs=2, missing=missing, **options)
    trained.infer(data).compute()
    trained.evaluate(data)
data[::9] = 0
KohonenMap(9, 9).train(data, epochs=2).infer(data).compute()
KohonenMap(9, 9).train(data, "online", epochs=1)
print(*sorted(variants() - before), sep="\\n")
"""


def test_usual_work_finds_all_functions_compiled():
    done = subprocess.run([sys.executable, "-c", CHILD], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stdout.split("\n")[0]


def test_the_image_is_warm_for_every_user():
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    (warm,) = [i for i, line in enumerate(lines) if re.match(r"RUN .*python -m som_dask\.cli\.warm_up$", line)]
    (user,) = [i for i, line in enumerate(lines) if line.startswith("USER ")]
    installed = max(i for i, line in enumerate(lines) if "pip install" in line)
    assert installed < warm < user  # written by root beside the package, and read by whoever the container runs as
