"""The steps by which a process changes files: each is counted, and one of them kills the process or fails.

A step is what Python's audit events tell of (opening to write, renaming, linking, removing, making folders, the
swap of two paths), and besides each write and each fsync. A write that is hit has half of its bytes written.
"""

import builtins
import errno
import io
import os
import re
import signal
import sys
import threading

__all__ = ["FAULTS", "FileSteps", "kind_of"]

FAULTS = {
    "killed": None,
    "full": errno.ENOSPC,  # from the step on: there is no more space, but what is there can be moved and removed
    "broken": errno.EIO,  # at this step only
}
PLAIN_OPEN = io.open
CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
TAKES_SPACE = ("open", "write", "mkdir", "link", "fsync")
EVENTS = {
    "os.mkdir": "mkdir",
    "os.rename": "rename",
    "os.remove": "remove",
    "os.rmdir": "rmdir",
    "os.link": "link",
    "os.symlink": "link",
    "os.truncate": "truncate",
}


class FileSteps:
    """The steps of this process in the current folder.

    Parameters
    ----------
    report : int
        File descriptor that each step is written to, one on a line.
    fault : str or None
        One of `FAULTS`, or None to let all steps pass.
    at : int
        Number of the step that is hit, from 1.
    """

    def __init__(self, report: int, fault: str | None = None, at: int = 0) -> None:
        self.folder, self.report, self.fault, self.at = os.getcwd(), report, fault, at
        self.done, self.lock = 0, threading.Lock()

    def watch(self) -> None:
        """Count from here on, until the process ends: audit hooks can't be removed."""
        io.open = builtins.open = self._open
        os.fsync = self._fsync
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple) -> None:
        if event == "open" and arguments[2] & CHANGES:
            self.take("open", arguments[0])
        elif event in EVENTS:
            self.take(EVENTS[event], arguments[0], arguments[-1])
        elif event == "ctypes.dlsym" and arguments[1] == "renameat2":
            self.take("exchange", self.folder)

    def take(self, kind: str, path: object, folder: object = -1) -> None:
        """Take a step: tell of it, and end or fail if it is the one."""
        if self.is_hit(kind, path, folder):
            self.fail()

    def is_hit(self, kind: str, path: object, folder: object = -1) -> bool:
        """Count a step if it is one in the folder, and return whether the fault hits it."""
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        if isinstance(folder, int) and folder >= 0:
            path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), os.fsdecode(path))
        path = os.path.abspath(os.fsdecode(path))
        if path != self.folder and not path.startswith(f"{self.folder}/"):
            return False
        with self.lock:
            self.done += 1
            number = self.done
            os.write(self.report, f"{kind} {os.path.relpath(path, self.folder)}\n".encode())
        if self.fault == "full":
            return number >= self.at and kind in TAKES_SPACE and not (kind == "fsync" and os.path.isdir(path))
        return self.fault is not None and number == self.at

    def fail(self) -> None:
        """Kill the process, or raise the error of the fault."""
        if self.fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        number = FAULTS[self.fault]
        raise OSError(number, os.strerror(number))

    def _fsync(self, file: int) -> None:
        self.take("fsync", file if isinstance(file, int) else file.fileno())  # and spare the disk

    def _open(
        self, file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None
    ):
        """Open as `open` does; what is opened to write is watched below all buffers."""
        if isinstance(file, int) or not set(mode) & set("wxa+"):
            return PLAIN_OPEN(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = _Watched(self, os.fspath(file), mode.replace("b", "").replace("t", ""), closefd, opener)
        if buffering == 0:
            return raw
        buffer = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffer if "b" in mode else io.TextIOWrapper(buffer, encoding, errors, newline)


class _Watched(io.FileIO):
    """A file whose writes are steps."""

    def __init__(self, steps: FileSteps, *arguments) -> None:
        self.steps = steps
        super().__init__(*arguments)

    def write(self, data) -> int:
        if not self.steps.is_hit("write", self.name):
            return super().write(data)
        view = memoryview(data).cast("B")
        super().write(view[: len(view) // 2])
        self.steps.fail()
        raise AssertionError


def kind_of(step: str) -> str:
    """Return the kind of a step: what it does to which sort of file, whatever the names and numbers are.

    The files of the variables of one store are all of one sort.
    """
    kind, _, path = step.partition(" ")
    path = re.sub(r"[0-9a-f]{12,}", "*", path)
    path = re.sub(r"-\d+-\*", "-*", path)
    path = re.sub(r"(zarr|partial)/(?!labels.zarr|done|plan)[a-z_]+(/c(/\d+)*)?", r"\1/*", path)
    return f"{kind} {re.sub(r'[0-9]+', '0', path)}"
