"""`stream`: an epoch read from a compressed store, against reading alone and computing alone."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import dask
import xarray as xr
from zarr.storage import LocalStore, WrapperStore

from som_dask.algorithm.lattice import Lattice
from som_dask.passes.run import Group, Pass, run_pass
from som_dask.passes.summary import summarize
from som_dask.samples.open import open_samples
from som_dask.samples.table import Samples
from tests.benchmarks.contestants import ours
from tests.benchmarks.data import codebooks, manifold
from tests.benchmarks.stores import write_store
from tests.benchmarks.tables import show
from tests.benchmarks.timing import Contestant, Options, Spread, interleaved, ratio

__all__ = ["run"]

FEATURES, SIDES = 16, (10, 20, 50)
CHUNK_ROWS, QUICK_CHUNK_ROWS, CHUNKS = 65_536, 8_192, 64
LATENCY = 0.05  # seconds until an answer, as from an object store


class LateStore(WrapperStore):
    """A store whose chunks come late: waiting that costs no core."""

    async def get(self, *args: Any, **kwargs: Any) -> Any:
        """A value of the store, after a while."""
        await asyncio.sleep(LATENCY)
        return await self._store.get(*args, **kwargs)


def measure(samples: Samples, side: int, options: Options) -> dict[str, Any]:
    """Times of an epoch that reads, of its two parts alone, and what the parts lead one to expect."""
    settings = {"scheduler": "threads", "num_workers": options.threads}
    with dask.config.set(settings):
        summary = summarize(samples)
        held = replace(samples, array=samples.array.persist(), stored=None)

    def read() -> None:
        look = Pass(name="read", of_group=_rows, joins=True, nodes=side * side)  # in an epoch's groups
        run_pass(look, samples)

    lattice = Lattice(side, side)
    phase = codebooks(manifold(20_000, FEATURES), lattice, options.threads)[1]
    times = interleaved(
        {
            "streamed": ours(samples, lattice, phase, options.threads, summary=summary),
            "reading": Contestant(read, lambda: dask.config.set(settings)),
            "computing": ours(held, lattice, phase, options.threads, summary=summary),
        },
        options,
    )
    slower = [max(pair) for pair in zip(times["reading"], times["computing"], strict=False)]
    both = [sum(pair) for pair in zip(times["reading"], times["computing"], strict=False)]
    return {
        "side": side,
        "samples": samples.n_samples,
        "bytes": samples.array.nbytes,
        **{name: Spread.of(values) for name, values in times.items()},
        "ratio_to_slower": ratio(times["streamed"], slower),
        "ratio_to_sum": ratio(times["streamed"], both),
    }


def run(options: Options) -> list[dict[str, Any]]:
    """Measure stores and maps on which reading and computing take turns at being slower, and print the table."""
    rows = QUICK_CHUNK_ROWS if options.quick else CHUNK_ROWS
    results = []
    with tempfile.TemporaryDirectory(prefix="som_dask_stream_") as folder:
        for compressed in (True, False):
            path = Path(folder) / f"{compressed}.zarr"
            write_store(path, CHUNKS, rows, FEATURES, compressed=compressed)
            late = xr.open_zarr(LateStore(LocalStore(path, read_only=True)), chunks=None, consolidated=False)
            for kind, source in (("cached file", str(path)), (f"{LATENCY * 1e3:.0f} ms late", late)):
                samples = open_samples(source, block_size=8 * 4 * FEATURES * rows, allow_missing_chunks=True)
                for side in SIDES:
                    options.say(f"stream: {kind}, {'zstd' if compressed else 'plain'}, {side} x {side}")
                    store = f"{kind}, {'zstd' if compressed else 'plain'}"
                    results.append({"store": store, **measure(samples, side, options)})
    show(
        f"stream: an epoch of {results[0]['bytes'] / 2**20:.0f} MiB in {CHUNKS} chunks, D={FEATURES}",
        [
            "store",
            "map",
            "streamed s",
            "reading alone s",
            "computing alone s",
            "streamed / slower",
            "streamed / (both)",
        ],
        [
            [
                row["store"],
                f"{row['side']} x {row['side']}",
                row["streamed"],
                row["reading"],
                row["computing"],
                row["ratio_to_slower"],
                row["ratio_to_sum"],
            ]
            for row in results
        ],
        [
            f"medians [min, max] of {options.rounds} rounds, interleaved",
            "cached file: nothing to wait for; decompressing takes the cores that compute, so about the sum of both",
            "late: each answer comes after a while that costs no core; the next one is asked for before",
        ],
    )
    return [{name: asdict(v) if isinstance(v, Spread) else v for name, v in row.items()} for row in results]


def _rows(group: Group, _: None) -> int:
    return sum(len(piece) for _, piece in group.joined.source.pieces())
