"""Bars that show how far the work is, where somebody watches: on a terminal, or in a notebook."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dask.callbacks import Callback

__all__ = ["Bar", "Steps", "in_notebook", "is_shown", "showing_blocks"]

FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
SHARE = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}{postfix}]"  # where the count is not one of whole things


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook. IPython is not imported for it."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def is_shown(progress: bool | None) -> bool:
    """Return whether progress is shown: as asked, or else where standard error is a terminal, and in notebooks."""
    if progress is not None:
        return progress
    try:
        return in_notebook() or sys.stderr.isatty()
    except (AttributeError, ValueError):  # there is no standard error, or it is closed
        return False


class Bar:
    """A bar by tqdm on standard error, or a widget in a notebook; nothing, at no cost, where it is not shown.

    Parameters
    ----------
    label : str
    total : float, optional
        What is to be done in all; None if it is not known yet.
    shown : bool
    form : str
        Format of tqdm.
    """

    def __init__(self, label: str, total: float | None = None, *, shown: bool, form: str = FORMAT) -> None:
        self._bar: Any = None
        if shown:
            # Every change may be shown, also a slow epoch after many fast ones; at most ten a second are.
            self._bar = _bar_class()(desc=label, total=total, bar_format=form, miniters=0, **_measure_terminal())

    def tell(
        self, done: float, *, total: float | None = None, label: str | None = None, note: str | None = None
    ) -> None:
        """Tell how much is done, and what else has changed."""
        bar = self._bar
        if bar is None:
            return
        if total is not None and total != bar.total:
            bar.total = total
            if hasattr(bar, "container"):  # of a notebook, where tqdm changes it only together with the time
                bar.container.children[1].max = total
        if label is not None:
            bar.set_description_str(label, refresh=False)
        if note is not None:
            bar.set_postfix_str(note, refresh=False)
        bar.update(done - bar.n)

    def refresh(self) -> None:
        """Show at once what was told last."""
        if self._bar is not None:
            self._bar.refresh()

    def close(self) -> None:
        """Leave the bar as it is now."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


@contextlib.contextmanager
def showing_blocks(
    label: str, then: Callable[[int, int], None] | None = None, *, shown: bool
) -> Iterator[Callable[[int, int], None]]:
    """Show a bar of blocks within a ``with`` block, which is told how many are done, and how many there are in all.

    Parameters
    ----------
    label : str
    then : callable, optional
        Called with the same numbers after they are shown.
    shown : bool

    Yields
    ------
    callable
    """
    with Bar(label, shown=shown) as bar:

        def tell(done: int, blocks: int) -> None:
            bar.tell(done, total=blocks, note="blocks")
            if then is not None:
                then(done, blocks)

        yield tell


def _measure_terminal() -> dict[str, Any]:
    """Return the options of tqdm for the size of the terminal: where that is not told, tqdm would show nothing."""
    try:
        told = all(os.get_terminal_size(sys.stderr.fileno()))
    except (AttributeError, OSError, ValueError):
        told = True  # that is no terminal, and tqdm knows what to do
    return {"dynamic_ncols": True} if told else {"ncols": 80, "nrows": 24}


def _bar_class() -> Any:
    """Return tqdm's bar for this place, without the thread that tqdm would start to watch over it."""
    with warnings.catch_warnings():  # a notebook without widgets has a bar of text instead
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
        from tqdm.std import tqdm as plain

    return type("Bar", (tqdm if in_notebook() else plain,), {"monitor_interval": 0})


class Steps:
    """A bar over a few steps, such as passes over the data, that moves with the tasks of each.

    The tasks are counted where they run on threads of this process. On a cluster the bar moves with the steps, and
    the tasks are on the dashboard of Dask.

    Parameters
    ----------
    label : str
    steps : sequence of str
        What each step does.
    shown : bool
    """

    def __init__(self, label: str, steps: Sequence[str], *, shown: bool) -> None:
        self._bar = Bar(label, len(steps), shown=shown, form=SHARE)
        self._shown, self._steps, self._begun = shown, list(steps), 0

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Do the next step within a ``with`` block."""
        if not self._shown:
            yield
            return
        before, note = self._begun, f"step {self._begun + 1} of {len(self._steps)}: {self._steps[self._begun]}"
        self._bar.tell(before, note=note)
        self._bar.refresh()
        done = tasks = 0

        def begin(_: Any, state: Any) -> None:
            nonlocal done, tasks
            done, tasks = 0, sum(len(state[name]) for name in ("ready", "waiting", "running"))

        def count(*_: Any) -> None:
            nonlocal done
            done += 1
            self._bar.tell(max(before + min(done / max(tasks, 1), 1.0), 0.0))

        with Callback(start_state=begin, posttask=count):
            yield
        self._begun += 1
        self._bar.tell(self._begun)

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.close()
