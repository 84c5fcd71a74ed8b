"""How much a sample belongs to each of its nearest nodes."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from som_dask.errors import ParameterError

__all__ = ["FUZZIFIER", "Membership", "entropies", "memberships"]

Membership = Literal["fuzzy", "gaussian"]
FUZZIFIER = 2.0  # m, the usual choice


def memberships(
    distance: np.ndarray, kind: Membership = "fuzzy", *, fuzzifier: float = FUZZIFIER, bandwidth: float | None = None
) -> np.ndarray:
    r"""How much each sample belongs to each of its k nearest nodes.

    "fuzzy": those of fuzzy c-means (Bezdek, *Pattern Recognition with Fuzzy Objective Function Algorithms*, 1981),
    ``u_i = 1 / sum_j (d_i / d_j)^(2 / (m - 1))`` with the fuzzifier m. They need no scale. A sample that lies on a
    node belongs to it alone; on several, to these alike.

    "gaussian": ``u_i = exp(-d_i^2 / 2 s^2) / sum_j exp(-d_j^2 / 2 s^2)``, what each node is responsible for in a
    mixture of equal Gaussians of standard deviation s around the nodes (Heskes, *Self-organizing maps, vector
    quantization, and mixture modeling*, IEEE Transactions on Neural Networks 12, 2001). With s = 0 a sample belongs
    to the nearest alone.

    In both, sums run over the k nodes given.

    Parameters
    ----------
    distance : (n, k) float64
        d, Euclidean, nearest first; rows of NaN stay NaN.
    kind : {"fuzzy", "gaussian"}
    fuzzifier : float
        m > 1, of "fuzzy": near 1 all goes to the nearest, large all nodes are alike.
    bandwidth : float
        s >= 0, of "gaussian", in the units of `distance`.

    Returns
    -------
    (n, k) float64
        Each row sums to 1 and does not increase.

    Raises
    ------
    ParameterError
        For an unknown kind, or a fuzzifier or bandwidth out of range.
    """
    if kind not in get_args(Membership):
        raise ParameterError(f"the membership must be one of {get_args(Membership)}, got {kind!r}")
    distance = np.asarray(distance, dtype=np.float64)
    nearest, nothing = distance[:, :1], np.where(np.isnan(distance), np.nan, 0.0)
    if kind == "fuzzy":
        if not 1 < fuzzifier < np.inf:
            raise ParameterError(f"the fuzzifier must be above 1, got {fuzzifier!r}")
        ratio = np.divide(nearest, distance, out=nothing, where=distance > 0)
        ratio[distance == 0] = 1.0
        with np.errstate(under="ignore"):
            weight = ratio ** (2 / (fuzzifier - 1))
    else:
        if bandwidth is None or not 0 <= bandwidth < np.inf:
            raise ParameterError(f"a gaussian membership needs a bandwidth of at least 0, got {bandwidth!r}")
        if bandwidth > 0:
            # (d - d_1)(d + d_1) is the difference of squares without cancellation.
            with np.errstate(under="ignore", over="ignore", invalid="ignore"):
                weight = np.exp(-((distance - nearest) / bandwidth) * ((distance + nearest) / bandwidth) / 2)
            weight[distance == nearest] = 1.0  # where a tiny bandwidth makes it 0 times infinity
        else:
            weight = np.where(distance == nearest, 1.0, nothing)
    return weight / weight.sum(axis=1, keepdims=True)


def entropies(membership: np.ndarray) -> np.ndarray:
    """Shannon entropy of rows of memberships (n, k) over log k: (n,) from 0, one node alone, to 1, all alike."""
    k = membership.shape[1]
    logarithms = np.log(membership, out=np.zeros_like(membership), where=membership > 0)
    total = -(membership * logarithms).sum(axis=1)
    return np.clip(total / np.log(k), 0.0, 1.0) if k > 1 else np.where(np.isnan(total), np.nan, 0.0)
