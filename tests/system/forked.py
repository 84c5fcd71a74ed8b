"""Commands in processes forked from one that has imported and compiled everything: each begins in milliseconds."""

import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from tests.epoch_lines import apart_from_epochs
from tests.system.file_steps import FileSteps

__all__ = ["Ended", "ForkServer", "Run"]

AT_ONCE = min(8, os.cpu_count() or 1)
SECONDS = 300  # after which a command hangs
HERE = Path(__file__).parents[2]


@dataclass(frozen=True)
class Run:
    """A command to run.

    Attributes
    ----------
    folder : str
        Where it runs.
    arguments : sequence of str
        Those of som-dask; or the name of a function of `tests.system.writers`.
    fault : str, optional
        What hits it, one of `tests.system.file_steps.FAULTS`.
    at : int
        The step at which.
    """

    folder: str
    arguments: Sequence[str] | str
    fault: str | None = None
    at: int = 0


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status, what it wrote, and its steps (see `FileSteps`)."""

    status: int
    out: str
    err: str
    steps: list[str]


class ForkServer:
    """A process that forks, to use in a ``with`` block.

    Parameters
    ----------
    folder : path
        Where it prepares what the commands need, by `tests.system.writers.prepare`.
    """

    def __init__(self, folder: os.PathLike[str]) -> None:
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "agg"}
        environment["PYTHONPATH"] = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.system.forked"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=environment,
        )
        assert self.process.stdout.readline() == "ready\n"

    def __enter__(self) -> "ForkServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def run(self, runs: Sequence[Run]) -> list[Ended]:
        """Run commands, some of them at once."""
        self.process.stdin.write(f"{json.dumps([asdict(run) for run in runs])}\n")
        self.process.stdin.flush()
        return [Ended(**ended) for ended in json.loads(self.process.stdout.readline())]


def _serve() -> None:
    """Prepare, and then run what standard input asks for."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what is printed meanwhile is no answer
    from tests.system.writers import prepare

    prepare()
    _end_threads()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_run_all([Run(**run) for run in json.loads(line)])), file=answers, flush=True)


def _end_threads() -> None:
    """End all threads but this one, which alone goes on in a forked process."""
    import dask.threaded
    from zarr.core import sync

    from som_dask.samples import read_ahead

    sync.cleanup_resources()
    read_ahead._readers().shutdown()
    read_ahead._readers.cache_clear()
    if dask.threaded.default_pool is not None:
        dask.threaded.default_pool.shutdown()
        dask.threaded.default_pool = None
    for thread in set(threading.enumerate()) - {threading.current_thread()}:
        thread.join()
    gc.freeze()  # a collection in a forked process would copy all that they share


def _run_all(runs: list[Run]) -> list[dict]:
    waiting, running, ended = list(enumerate(runs)), {}, {}
    with tempfile.TemporaryDirectory() as folder:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                number, run = waiting.pop(0)
                files = [os.path.join(folder, f"{number}.{name}") for name in ("out", "err", "steps")]
                process = os.fork()
                if process == 0:
                    _become(run, files)
                running[process] = number, files
            process, status = os.wait()
            number, (out, err, steps) = running.pop(process)
            ended[number] = {
                "status": os.waitstatus_to_exitcode(status),
                "out": Path(out).read_text(),
                "err": apart_from_epochs(Path(err).read_text()),
                "steps": Path(steps).read_text().splitlines(),
            }
    return [ended[number] for number in range(len(runs))]


def _become(run: Run, files: list[str]) -> NoReturn:
    """Become the process of a command, and end as it ends."""
    status = 1
    try:
        out, err, report = (os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for file in files)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        signal.alarm(SECONDS)
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # and forget which were shown before
        os.chdir(run.folder)
        status = _work(run, report)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _work(run: Run, report: int) -> int:
    from som_dask.cli.main import main
    from som_dask.errors import SomError
    from tests.system import writers

    FileSteps(report, run.fault, run.at).watch()
    try:
        if isinstance(run.arguments, str):
            getattr(writers, run.arguments)()
        else:
            sys.argv = ["som-dask", *run.arguments]
            main()
    except SystemExit as end:
        return int(end.code or 0)
    except SomError as error:  # of a function, which has no command line that would tell of it
        print(f"som-dask: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    _serve()
