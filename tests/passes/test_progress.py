"""Bars are shown where somebody watches, on standard error, and cost nothing elsewhere."""

import io
import os
import sys
import types

import dask
import numpy as np
import pytest

from som_dask.passes import progress
from som_dask.passes.progress import Bar, Steps, in_notebook, is_shown, showing_blocks


@pytest.fixture
def every_change(monkeypatch):
    """Bars that show every change, also those that follow at once."""
    made = progress._bar_class
    monkeypatch.setattr(progress, "_bar_class", lambda: type("Bar", (made(),), {"__init__": _show_all}))


def _show_all(self, **options):
    super(type(self), self).__init__(**options, mininterval=0)


def lines_of(terminal):
    return [line.strip() for line in terminal.getvalue().split("\r") if line.strip()]


def test_a_bar_is_shown_as_asked_or_else_on_a_terminal_and_in_a_notebook(monkeypatch, open_terminal):
    open_terminal()
    assert is_shown(None)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not is_shown(None)
    assert is_shown(True)
    monkeypatch.setattr(sys, "stderr", None)
    assert not is_shown(None)
    shell = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    assert in_notebook()
    assert is_shown(None)
    assert not is_shown(False)


def test_ipython_without_a_kernel_is_no_notebook(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None))
    assert not in_notebook()


def test_a_bar_that_is_not_shown_imports_nothing_and_writes_nothing(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)  # to import it fails
    with Bar("training", 3, shown=False) as bar:
        bar.tell(1, note="note")
        bar.refresh()
    assert capsys.readouterr() == ("", "")


def test_a_bar_tells_what_changes_and_leaves_no_thread(open_terminal, capsys, every_change):
    terminal = open_terminal()
    import threading

    before = threading.active_count()
    with Bar("training", shown=True) as bar:
        bar.tell(1, total=4, label="rough", note="radius 2")
    assert threading.active_count() == before
    assert lines_of(terminal)[-1].startswith("rough:  25%|")
    assert "| 1/4 [00:00, radius 2]" in lines_of(terminal)[-1]
    assert capsys.readouterr().out == ""


def test_blocks_are_shown_and_told(open_terminal, every_change):
    terminal = open_terminal()
    told = []
    with showing_blocks("labeling", lambda *numbers: told.append(numbers), shown=True) as tell:
        tell(3, 12)
        tell(12, 12)
    assert told == [(3, 12), (12, 12)]
    assert [f"{done}/12" in line for done, line in zip((3, 12), lines_of(terminal)[-3:], strict=False)] == [True] * 2


def test_steps_move_with_their_tasks(open_terminal, every_change):
    terminal = open_terminal()
    array = dask.array.ones(8, chunks=2)
    with Steps("evaluating", ["range", "ranks"], shown=True) as steps:
        with steps.step():
            array.map_blocks(np.sqrt).sum().compute(scheduler="synchronous")
        with steps.step():
            pass
    shares = [int(line.partition("%")[0].rpartition(":")[2]) for line in lines_of(terminal) if "%" in line]
    assert shares == sorted(shares)
    assert shares[-1] == 100
    assert any(0 < share < 50 for share in shares)
    assert "step 2 of 2: ranks" in lines_of(terminal)[-1]


def test_a_step_that_fails_leaves_the_bar_where_it_was(open_terminal):
    terminal = open_terminal()
    with pytest.raises(ValueError, match="no"), Steps("evaluating", ["range"], shown=True) as steps, steps.step():
        raise ValueError("no")
    assert "100%" not in terminal.getvalue()


def test_a_terminal_that_does_not_tell_its_size_has_a_bar_too(open_terminal, monkeypatch):
    terminal = open_terminal()
    monkeypatch.setattr(terminal, "fileno", lambda: 2)
    monkeypatch.setattr(os, "get_terminal_size", lambda number: os.terminal_size((0, 0)))
    monkeypatch.setattr("tqdm.std._screen_shape_wrapper", lambda: lambda stream: (0, 0))
    with Bar("training", 4, shown=True) as bar:
        bar.tell(1)
    assert "| 1/4 [" in terminal.getvalue()
