"""``python -m som_dask.cli.warm_up``: compile what is usually needed, so that an image brings it along.

The code is for the processor that this runs on, and lies where `som_dask.numerics.compile_cache` says.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from som_dask.kohonen_map import KohonenMap
from som_dask.passes.cluster import connect

__all__ = ["warm_up"]


def warm_up(*, workers: int | None = None) -> None:
    """Train small maps of all usual kinds, label and measure with them.

    Parameters
    ----------
    workers : int, optional
        Do it on so many worker processes as well: what arrives there may be read-only, of which numba makes a
        variant of its own.
    """
    rng = np.random.default_rng(0)
    data = rng.normal(size=(300, 4)).astype(np.float32)
    lacking = np.where(rng.random(data.shape) < 0.1, np.nan, data)
    weights: dict[str, Any] = {"sample_weights": rng.random(len(data)), "scaling": "zscore"}
    with connect(workers=workers):
        for rows, topology in ((3, "hexagonal"), (20, "rectangular")):
            usual = KohonenMap(rows, rows, topology).train(data, epochs=2)  # type: ignore[arg-type]
            usual.infer(data).compute()
            usual.infer_soft(data).compute()
            usual.evaluate(data)
            KohonenMap(rows, rows).train(data, epochs=2, **weights)
            KohonenMap(rows, rows).train(lacking, epochs=2, missing="mask", **weights)
            masked = KohonenMap(rows, rows).train(lacking, epochs=2, missing="mask")
            masked.infer(lacking).compute()
        for metric in ("cosine", "correlation"):
            KohonenMap(3, 3).train(data, epochs=2, metric=metric)
        KohonenMap(3, 3).train(data, epochs=2, precision="fast")
        KohonenMap(3, 3).train(data, "online", epochs=2)


if __name__ == "__main__":
    warm_up()
    warm_up(workers=1)
