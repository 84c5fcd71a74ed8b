"""A kill, a full disk or a fault of the disk at any step of any command that writes: nothing is lost or half there.

By default some steps of each command are tried. With ``SOM_DASK_STEPS=kinds`` in the environment one of each kind
is, and with ``SOM_DASK_STEPS=all`` every step, which takes an hour.
"""

import os
import shutil
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.system.file_steps import FAULTS, kind_of
from tests.system.forked import Ended, ForkServer, Run
from tests.system.writers import (
    WRITERS,
    check_finished,
    check_log,
    check_unfinished,
    copy_given,
    is_registered,
    look,
    take_advice,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for open files in /proc")
STEPS = os.environ.get("SOM_DASK_STEPS", "some")
SOME = {"killed": (2, 2), "full": (2, 0), "broken": (1, 1)}  # spread over all kinds of steps, and the last ones


@dataclass
class Trial:
    """A command that a fault hits at one step, in a folder of its own."""

    run: Run
    folder: Path
    ended: Ended
    problem: str | None = None

    @property
    def step(self):
        """The step that was hit; none if threads took fewer steps this time."""
        return self.ended.steps[self.run.at - 1] if len(self.ended.steps) >= self.run.at else "none"

    def check(self, check, *arguments, **options):
        """Make a check, and keep what it finds if it is the first."""
        try:
            check(*arguments, **options)
        except AssertionError as error:
            self.problem = self.problem or (
                f"{self.run.fault} at step {self.run.at} ({self.step}): {check.__name__}: {error}"
                f" [{self.ended.status} {self.ended.err.strip()}]"
            )


class Workshop:
    """Where commands are tried: the server that runs them, and what they are given."""

    def __init__(self, server, folder, prepared):
        self.server, self.folder, self.prepared = server, folder, prepared

    def run_undisturbed(self, writer):
        """Return what is in a command's folder before and after it, and its steps."""
        folder = self.folder / f"{WRITERS.index(writer)}"
        copy_given(writer, self.prepared, folder)
        before = look(folder)
        (ended,) = self.server.run([Run(str(folder), writer.arguments)])
        assert (ended.status, ended.err) == (0, "")
        check_log(writer, self.prepared, folder, whole=True)
        return before, look(folder), ended.steps

    def try_steps(self, writer, chosen, folder):
        """Run a command once for each of some faults and steps, at which the fault hits it."""
        runs = [
            Run(str(folder / f"{fault}-{number}"), writer.arguments, fault, number)
            for fault, numbers in chosen.items()
            for number in numbers
        ]
        for run in runs:
            copy_given(writer, self.prepared, Path(run.folder))
        return [Trial(run, Path(run.folder), ended) for run, ended in zip(runs, self.server.run(runs), strict=True)]

    def list_models(self, trials):
        """Return what the registry in the folder of each lists."""
        command = ("models", "list", "--registry", "registry", "--json")
        found = self.server.run([Run(str(trial.folder), command) for trial in trials])
        assert all((ended.status, ended.err) == (0, "") for ended in found)
        return [ended.out for ended in found]

    def run_again(self, trials):
        """Run the commands once more, and then as the errors say, until each is done."""
        runs = [(trial, replace(trial.run, fault=None, at=0)) for trial in trials]
        while runs:
            left = []
            for (trial, run), ended in zip(runs, self.server.run([run for _, run in runs]), strict=True):
                if ended.status == 0:
                    trial.check(check_line, ended)
                    continue
                advice = take_advice(run.arguments, ended.err)
                trial.check(check_advice, advice, ended)
                if advice is not None:
                    left.append((trial, replace(run, arguments=advice)))
            runs = left


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    prepared = tmp_path_factory.mktemp("prepared")
    with ForkServer(prepared) as server:
        yield Workshop(server, tmp_path_factory.mktemp("undisturbed"), prepared)


def choose(steps, fault, first):
    """Choose numbers of steps; those that are spread are others for each command, the `first` of its list."""
    if STEPS == "all":
        return list(range(1, len(steps) + 1))
    kinds = [kind_of(step) for step in steps]
    numbers = [kinds.index(kind) + 1 for kind in dict.fromkeys(kinds)]
    if STEPS == "kinds":
        return numbers
    spread, last = SOME[fault]
    gap = -(-len(numbers) // spread)
    return sorted({*numbers[first % gap :: gap], *numbers[len(numbers) - last :]})


def check_line(ended):
    """A command that a fault has hit says so in one line, or has done its work all the same."""
    lines = [line for line in ended.err.splitlines() if not line.startswith("som-dask: warning: ")]
    assert ended.status in (0, 5), ended.status
    assert len(lines) == (ended.status != 0), lines
    assert all(line.startswith("som-dask: ") for line in lines), lines


def check_killed(ended):
    assert (ended.status, ended.err) == (-signal.SIGKILL, "")


def check_advice(advice, ended):
    assert advice is not None, f"run again: {ended.status} {ended.err}"


@pytest.mark.parametrize("writer", WRITERS, ids=str)
def test_nothing_is_lost(writer, workshop, tmp_path):
    before, after, steps = workshop.run_undisturbed(writer)
    chosen = {fault: choose(steps, fault, WRITERS.index(writer)) for fault in FAULTS}
    trials = workshop.try_steps(writer, chosen, tmp_path)
    listed = workshop.list_models(trials) if "registry" in writer.given else [None] * len(trials)
    undone = []
    for trial, models in zip(trials, listed, strict=True):
        trial.check(check_killed if trial.run.fault == "killed" and trial.step != "none" else check_line, trial.ended)
        done = trial.ended.status == 0
        trial.check(check_unfinished, writer, after if done else before, after, trial.folder, models)
        trial.check(check_log, writer, workshop.prepared, trial.folder, whole=done and not trial.ended.err)
        if not done and (writer.repeats or not is_registered(after, trial.folder)):
            undone.append(trial)
    workshop.run_again(undone)
    for trial in trials:
        if trial.ended.status == 0 and trial.step.endswith(".lock"):
            (trial.folder / trial.step.split()[1]).unlink(missing_ok=True)  # which the next run would use and remove
        trial.check(check_finished, writer, after, trial.folder)
        shutil.rmtree(trial.folder)
    problems = [trial.problem for trial in trials if trial.problem]
    assert not problems, "\n".join([f"{len(problems)} of {len(trials)} trials", *problems])
