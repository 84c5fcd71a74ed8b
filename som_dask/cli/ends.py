"""How a command runs and ends: whatever happens, in one line and with the status of what happened."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from typing import Any

import click

from som_dask.cli.signals import INTERRUPTED, hold_interrupts, is_stopping, remind_soon
from som_dask.cli.spelling import spell_for_shell
from som_dask.cli.terminal import echo, standard_streams
from som_dask.errors import Interrupted, MemoryLimitError, ParameterError, SomError, StorageError, is_out_of_memory
from som_dask.io.redaction import redact

__all__ = ["run"]

NAME, COMPLETION = "som-dask", "_SOM_DASK_COMPLETE"
NUMBA_CACHE = os.path.join("numba", "core", "caching.py")
LEAST_MEMORY = 512 * 2**20  # of the address space
FOR_MORE = "run with --log-level debug --log-file FILE for the traceback"


def run(arguments: list[str] | None = None) -> int:
    """Run the command line, tell of the error that it ends with, if there is one, and return the exit status.

    Raises
    ------
    KeyboardInterrupt
        If one comes while an error is told.
    """
    warnings.showwarning = _show_warning
    sys.unraisablehook = _note_unraisable
    try:
        with standard_streams():
            _check_limit()
            with hold_interrupts():
                from som_dask.cli.commands import cli
            _invoke(cli, sys.argv[1:] if arguments is None else arguments)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return ParameterError.exit_status
    except (Exception, KeyboardInterrupt) as error:
        try:
            return _tell(*_describe(error))
        except MemoryError:  # not even for that
            os.write(2, b"som-dask: out of memory; allow more\n")
            return MemoryLimitError.exit_status
    return 0


def _invoke(cli: click.Group, arguments: list[str]) -> None:
    """Run the command line. ``cli.main`` would take an interrupt, or any end of a file, for Ctrl-C at a prompt."""
    if COMPLETION in os.environ:
        cli.main(arguments, prog_name=NAME)
    with contextlib.suppress(click.exceptions.Exit), cli.make_context(NAME, arguments) as context:
        cli.invoke(context)


def _check_limit() -> None:
    """Refuse a limit under which the libraries can't be loaded: some of them wait forever for memory."""
    try:
        import resource
    except ImportError:  # as on Windows
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < LEAST_MEMORY:
        raise MemoryLimitError(
            f"out of memory: the limit of {limit / 2**20:.0f} MiB on this process is too low to load NumPy and Dask; "
            f"allow {LEAST_MEMORY / 2**20:.0f} MiB or more with ulimit -v"
        )


def _describe(error: BaseException) -> tuple[str, int]:
    """Return the line that tells of an error, and the exit status."""
    if isinstance(error, Interrupted):
        return str(error), error.exit_status
    if is_stopping() or isinstance(error, (KeyboardInterrupt, click.Abort)):
        return INTERRUPTED, Interrupted.exit_status
    if is_out_of_memory(error):
        text = spell_for_shell(str(error)) if isinstance(error, MemoryLimitError) else _tell_of_memory(error)
        return text, MemoryLimitError.exit_status
    if isinstance(error, SomError):
        return spell_for_shell(str(error)), error.exit_status
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "som-dask"
        return f"{error.format_message()} See {path} --help.", ParameterError.exit_status
    if isinstance(error, click.ClickException):
        return error.format_message(), ParameterError.exit_status
    return _describe_unforeseen(error)


def _describe_unforeseen(error: BaseException) -> tuple[str, int]:
    if "no locator available" in str(error):
        remedy = "set NUMBA_CACHE_DIR to a folder that can be written"
        return f"there is no place to keep compiled code; {remedy}", StorageError.exit_status
    folder = _find_cache(error)
    if folder is not None:
        remedy = "remove that folder, or set NUMBA_CACHE_DIR to another one"
        text = f"compiled code that numba kept in {folder} can't be used ({type(error).__name__}: {error}); {remedy}"
        return text, StorageError.exit_status
    if isinstance(error, OSError) and error.errno is not None:
        place = "" if error.filename is None else f" {error.filename}"
        return f"reading or writing{place} failed: {error.strerror}; check the disk", StorageError.exit_status
    if isinstance(error, UnicodeEncodeError):
        text = f"the encoding {error.encoding} lacks {error.object[error.start : error.end]!r}"
        return f"{text}; set PYTHONUTF8=1", ParameterError.exit_status
    return f"internal error: {type(error).__name__}: {error}; {FOR_MORE}", SomError.exit_status


def _tell_of_memory(error: BaseException) -> str:
    return (
        f"out of memory ({error or type(error).__name__}); use a smaller map or smaller blocks, or allow more memory"
    )


def _find_cache(error: BaseException) -> str | None:
    """Return the folder whose compiled code could not be used, if that is where an error was raised."""
    frame, found = error.__traceback__, None
    while frame is not None:
        if frame.tb_frame.f_code.co_filename.endswith(NUMBA_CACHE):
            cache = frame.tb_frame.f_locals.get("self")
            found = getattr(cache, "_cache_path", None) or getattr(cache, "cache_path", None) or found or "its cache"
        frame = frame.tb_next
    return found


def _tell(message: str, status: int) -> int:
    with standard_streams():
        echo(f"som-dask: {' '.join(redact(message).split())}", err=True)
    return status


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if is_stopping() and issubclass(category, RuntimeWarning):  # of coroutines that were left
        return
    echo(f"som-dask: warning: {' '.join(redact(spell_for_shell(str(message))).split())}", err=True)


def _note_unraisable(unraisable: Any) -> None:
    """Log, and do not print, an exception that goes nowhere, such as one in a destructor."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        remind_soon()
    logging.getLogger("som_dask").debug("%s: %s", unraisable.err_msg, unraisable.exc_value)
