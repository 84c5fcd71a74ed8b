"""Packaging: only som_dask goes into the wheel, and the README's commands are there."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def test_the_wheel_holds_the_package_alone(tmp_path, monkeypatch):
    build = pytest.importorskip("hatchling.build", reason="hatchling is not installed")
    monkeypatch.chdir(ROOT)
    wheel = build.build_wheel(str(tmp_path))
    with zipfile.ZipFile(tmp_path / wheel) as file:
        names = file.namelist()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"som_dask"}
    wanted = ("dask.yaml", "py.typed", "cli/main.py", "engine/kernels.cu", "plotting/report.html.jinja")
    assert {f"som_dask/{name}" for name in wanted} <= set(names)


def test_the_build_job_makes_the_wheel(tmp_path, monkeypatch):
    pytest.importorskip("hatchling.build", reason="hatchling is not installed")
    # This Python, and no container engine: an image would need the network.
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    for tool in ("dirname", "sh"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    environment = {**os.environ, "PATH": str(tmp_path / "bin"), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [ROOT / "jobs" / "build.sh", tmp_path / "dist"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "neither docker nor podman" in done.stderr
    assert len(list((tmp_path / "dist").glob("som_dask-*.whl"))) == 1


def test_each_readme_command_is_one_line():
    lines = (ROOT / "README.md").read_text().splitlines()
    own_environment = [line for line in lines if line.startswith("python3 -m venv .venv && ")]
    assert len(own_environment) == 2
    assert own_environment[0].endswith("som-dask demo")
    assert own_environment[1].endswith("pytest -n 2")


def test_ci_runs_the_readmes_test_command():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    pattern = re.search(r"grep -m1 '([^']+)' README.md", script.read_text())[1]
    found = [line for line in (ROOT / "README.md").read_text().splitlines() if re.search(pattern, line)]
    assert len(found) == 1


def test_extras_and_python():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    fields = {"analysis", "cells", "netcdf", "plot", "robust", "s3", "tables"}
    extras = fields | {"gpu", "bench", "demo", "docs", "test", "all"}
    assert extras == set(project["optional-dependencies"])
    assert project["requires-python"] == ">=3.11"
    assert project["scripts"] == {"som-dask": "som_dask.cli.main:main"}
