"""The command line, som-dask: where it starts.

Next to nothing is imported here, so that signals are caught from the first moment on.
"""

from __future__ import annotations

import os
import sys

from som_dask.cli.signals import INTERRUPTED, catch_signals, let_go
from som_dask.errors import Interrupted

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line, and end the process with the exit status of the error, if there is one.

    Parameters
    ----------
    arguments : list of str, optional
        By default those of the process, which then ends with the command.
    """
    status = Interrupted.exit_status
    try:
        catch_signals()
        from som_dask.cli.ends import run

        status = run(arguments)
    except KeyboardInterrupt:  # before there is anything else to tell of it, or while an error was told
        os.write(2, f"som-dask: {INTERRUPTED}\n".encode())
    finally:
        let_go(status if arguments is None else None)
    if status:
        sys.exit(status)


if __name__ == "__main__":
    main()
