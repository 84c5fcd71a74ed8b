"""Labels by several runs that know nothing of each other, such as an array of jobs: each labels one part.

The n parts are ranges of neighboring blocks of the store, so no two runs write to one chunk. All runs write to one
unfinished store, beside which they leave what they have to tell each other: the plan, on which they must agree, the
notes of each part, and a file for each part that is finished. The run that finds all parts finished publishes.

What concerns all parts, as to begin the unfinished store, to join it, to tell of an end and to publish, is done by
one run at a time, which holds the lock of the output and lets it go at once; the others wait. The part itself is
locked as long as its run is at work. A run that is not one of parts holds the lock of the output all the time.

Part k of n of an array that has been published already may start again, as when Slurm puts a job back into the queue.
That is no error: the store's run id begins with a digest of the plan and of the input's state, by which the run sees
that its work is done.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from som_dask.analysis.label_groups import Groups
from som_dask.analysis.label_store import LabelStore, LabelSummary, name_part, state_of_input, summarize
from som_dask.analysis.labels import LabelTask
from som_dask.errors import StorageError
from som_dask.io.claims import PlaceTakenError, check_claimed
from som_dask.io.digest import json_digest
from som_dask.io.draft import published_run_id
from som_dask.io.files import PathOrUrl, is_url, names_in, read_bytes, remove, write_bytes
from som_dask.io.notes import Notes
from som_dask.io.outputs import check_free, lock, work_folder

__all__ = ["infer_part"]

LOOKS, LONGEST_LOOK, LONGEST_WAIT = 0.05, 5.0, 3600.0  # seconds: between looks at a lock, and until a run gives up
IDENTITY = 16  # digits of a run id that tell the plan and the state of the input; the other 16 tell the run


def infer_part(
    task: LabelTask,
    place: PathOrUrl,
    part: tuple[int, int],
    *,
    overwrite: bool,
    inputs: Iterable[Any] = (),
    on_progress: Callable[[int, int], None] | None = None,
) -> LabelSummary:
    """Infer the labels of one part, and publish the store if all parts are finished.

    A run that was killed is continued by the same call. The samples of its own finished blocks are checked then as
    `som_dask.analysis.label_store.infer_to_store` does it; those of other parts are checked if the files or objects
    of the input have changed since the store was begun.

    Parameters
    ----------
    task : LabelTask
    place : path or fsspec URL
    part : (int, int)
        Which part, from 1, and how many there are. There may be more parts than blocks; some are empty then.
    overwrite : bool
        Replace a finished store at `place`, and discard an unfinished one of another plan, unless a part of it is
        being written. What other parts of the same plan have done is kept.
    inputs : iterable
        What is read, so that it is not overwritten.
    on_progress : callable, optional
        Called with the number of the part's blocks that are noted as finished, and of all its blocks.

    Returns
    -------
    LabelSummary

    Raises
    ------
    StorageError
        If `place` exists, unless it holds what these runs have published; if it can't be written; if another run
        writes this part, or all of the output; or if there are unfinished labels of another plan.
    DataError
        If a value is infinite, or NaN although none may be missing; finished blocks stay finished.
    """
    # What is there may be the result of these very runs.
    check_free(place, overwrite=True, inputs=inputs)
    groups = Groups(task)
    state = state_of_input(groups.samples)  # which may take long, so not in a turn
    with contextlib.ExitStack() as at_work:
        with _turn(place):
            run = _PartStore(groups, place, part, state, at_work)
            if run.is_published():
                return run.summarize_published()
            check_free(place, overwrite=overwrite)
            run.open(overwrite=overwrite)
        run.write(on_progress or (lambda done, blocks: None))
        with _turn(place):
            return run.finish(overwrite=overwrite)


@contextlib.contextmanager
def _turn(place: PathOrUrl) -> Iterator[None]:
    """Hold the lock of an output, for which this run waits while other parts have it for a moment."""
    stop, look = time.monotonic() + LONGEST_WAIT, LOOKS
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(lock(place))
                break
            except PlaceTakenError:
                if _is_written_whole(place) or time.monotonic() > stop:
                    raise
            time.sleep(look * random.uniform(0.5, 1.0))  # so that many runs don't look at the same moment
            look = min(2 * look, LONGEST_LOOK)
        yield


def _is_written_whole(place: PathOrUrl) -> bool:
    """Whether the unfinished store is that of a run which writes all of it."""
    try:
        return "parts" not in json.loads(read_bytes(f"{work_folder(place)}/plan.json"))
    except StorageError:  # there is none yet, or none any more
        return False


class _PartStore(LabelStore):
    """A store of labels of which this run writes one part.

    Parameters
    ----------
    groups : Groups
    place : path or URL
        It must be locked.
    part : (int, int)
        Which part, from 1, and how many there are.
    state : str, optional
        That of the input; see `state_of_input`.
    at_work : ExitStack
        Where the lock of the part is held.
    """

    def __init__(
        self,
        groups: Groups,
        place: PathOrUrl,
        part: tuple[int, int],
        state: str | None,
        at_work: contextlib.ExitStack,
    ) -> None:
        super().__init__(groups, os.fspath(place))
        self.k, self.n = part
        self.state = state
        self.at_work, self.name = at_work, name_part(self.place, self.k, self.n)
        self.blocks = range((self.k - 1) * self.n_blocks // self.n, self.k * self.n_blocks // self.n)
        self.notes = self._notes_of(self.k)
        self.plan["parts"] = self.n
        self.finished = f"{self.work}/finished"
        self.run_id = self._identity + self.run_id[IDENTITY:]

    @property
    def _identity(self) -> str:
        """The beginning of the ids of all runs with the same plan and input."""
        return json_digest([self.plan, self.state])[:IDENTITY]

    def _notes_of(self, k: int) -> Notes:
        return Notes(f"{self.work}/done/{k}")

    def is_published(self) -> bool:
        """Return whether the result of these runs is there, and remove what its publisher had no time to remove."""
        # Of an input whose state is not known nobody can tell whether it is still the same.
        found = None if self.state is None else published_run_id(self.place)
        if found is None or found[:IDENTITY] != self._identity:
            return False
        self._clear(found)
        return True

    def _clear(self, run_id: str) -> None:
        plan = self._read_plan()
        if plan is not None and plan["run_id"] == run_id:
            remove(self.work)

    def summarize_published(self) -> LabelSummary:
        """Summarize a part whose labels are published already, without reading them."""
        samples = sum(math.prod(self.groups.region(block).shape) for block in self.blocks)
        return LabelSummary(samples, len(self.blocks), len(self.blocks), float("nan"))

    def _go_on(self, found: Mapping[str, Any]) -> bool:
        """Join the run that wrote a plan; return False if samples or coordinates are not the same."""
        self.at_work.enter_context(lock(self.name))
        own = {record["block"]: record for record in self.notes.read(join=True)}
        check = list(own.values())
        has_changed = self.state != found["state"]
        if self.state is not None:
            check = list(self._read_all_notes().values()) if has_changed else check[-1:]
        if not self._has_same_samples(check):
            self.at_work.close()
            return False
        self.done, self.n_before, self.run_id = own, len(own), found["run_id"]
        if has_changed:
            self._write_plan()
        return True

    def _read_all_notes(self) -> dict[int, dict[str, Any]]:
        parts = [int(name) for name in names_in(f"{self.work}/done")]
        return {record["block"]: record for k in parts for record in self._notes_of(k).read()}

    def _begin(self) -> None:
        super()._begin()
        self.at_work.enter_context(lock(self.name))

    def finish(self, *, overwrite: bool) -> LabelSummary:
        """Tell that the part is finished; publish the store if all are."""
        summary = summarize([self.done[block] for block in self.blocks], self.n_before)
        if published_run_id(self.place) == self.run_id:
            self._clear(self.run_id)
            return summary
        self._check_mine()
        own = [self.done[block] for block in self.blocks]
        write_bytes(f"{self.finished}/{self.k}.json", json.dumps(own).encode())
        # After a file was written there, as a client of NFS that knows only old entries lists them anew then.
        done = set(names_in(self.finished))
        missing = tuple(k for k in range(1, self.n + 1) if f"{k}.json" not in done)
        if missing:
            return replace(summary, parts_missing=missing)
        for k in range(1, self.n + 1):
            records = json.loads(read_bytes(f"{self.finished}/{k}.json"))
            self.done |= {record["block"]: record for record in records}
        self.n_before += self.n_blocks - len(self.blocks)
        self.draft.take_up()  # only now, as others were writing
        return super().finish(overwrite=overwrite)

    def _check_mine(self) -> None:
        """Check that no other run has taken the part, or the whole store, from this one."""
        if is_url(self.name):
            check_claimed(self.name)
        plan = self._read_plan()
        if plan is None or plan["run_id"] != self.run_id:
            raise StorageError(f"another run has discarded the unfinished labels of {self.name}; run again")
