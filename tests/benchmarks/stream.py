"""`stream`: an epoch read from a compressed store, against reading alone and computing alone."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import dask
import numpy as np
from dask.delayed import delayed

from som_dask.lattice import Lattice
from som_dask.reduction import summarize
from som_dask.samples import open_samples
from tests.benchmarks.contestants import ours
from tests.benchmarks.data import codebooks, manifold
from tests.benchmarks.stores import write_store
from tests.benchmarks.tables import show
from tests.benchmarks.timing import Contestant, Options, Spread, interleaved, ratio

__all__ = ["run"]

FEATURES, SIDES = 16, (10, 20, 50)


def run(options: Options) -> list[dict[str, Any]]:
    """Measure maps on which reading and computing take turns at being the slower part, and print the table."""
    chunks, chunk_rows = (32, 16_384) if options.quick else (32, 131_072)
    settings = {"scheduler": "threads", "num_workers": options.threads}
    results = []
    with tempfile.TemporaryDirectory(prefix="som_dask_stream_") as folder:
        store = write_store(Path(folder) / "samples.zarr", chunks, chunk_rows, FEATURES)
        stored = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
        streamed = open_samples(str(store), block_size=4 * FEATURES * chunk_rows)
        with dask.config.set(settings):
            summary = summarize(streamed)
            held = replace(streamed, array=streamed.array.persist())

        def read() -> None:
            dask.compute(*[delayed(_rows, pure=False)(block) for block in streamed.blocks()])

        for side in SIDES:
            options.say(f"stream: {side} x {side}, {streamed.n_samples} samples in {chunks} chunks")
            lattice = Lattice(side, side)
            phase = codebooks(manifold(20_000, FEATURES), lattice, options.threads)[1]
            times = interleaved(
                {
                    "streamed": ours(streamed, lattice, phase, options.threads, summary=summary),
                    "reading": Contestant(read, lambda: dask.config.set(settings)),
                    "computing": ours(held, lattice, phase, options.threads, summary=summary),
                },
                options,
            )
            slower = [max(pair) for pair in zip(times["reading"], times["computing"], strict=False)]
            both = [sum(pair) for pair in zip(times["reading"], times["computing"], strict=False)]
            results.append(
                {
                    "side": side,
                    "samples": streamed.n_samples,
                    "bytes": streamed.array.nbytes,
                    "stored_bytes": stored,
                    **{name: Spread.of(values) for name, values in times.items()},
                    "ratio_to_slower": ratio(times["streamed"], slower),
                    "ratio_to_sum": ratio(times["streamed"], both),
                }
            )
    show(
        f"stream: an epoch of {results[0]['bytes'] / 2**20:.0f} MiB ({stored / 2**20:.0f} MiB as zstd) "
        f"in {chunks} chunks, D={FEATURES}",
        ["map", "streamed s", "reading alone s", "computing alone s", "streamed / slower", "streamed / (both)"],
        [
            [
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
            f"medians [min, max] of {options.rounds} rounds, interleaved; files are in the system's cache",
            "reading is decompressing here, on the threads that compute: expect about the sum of both",
        ],
    )
    return [{name: asdict(v) if isinstance(v, Spread) else v for name, v in row.items()} for row in results]


def _rows(block: np.ndarray) -> int:
    return len(block)
