"""The benchmarks run: no time is judged, only that numbers come out."""

import math

from tests.benchmarks import epoch
from tests.benchmarks.timing import Contestant, Options, Spread, interleaved, ratio


def test_epoch_gives_positive_numbers():
    result = epoch.measure(500, 3, 16, Options(threads=2, rounds=2))
    spreads = [value for value in result.values() if isinstance(value, Spread)]
    assert len(spreads) >= 3
    for spread in spreads:
        assert spread.rounds == 2
        assert 0 < spread.low <= spread.median <= spread.high < math.inf


def test_contestants_take_turns_until_patience_ends():
    order = []
    contestants = {
        "quick": Contestant(lambda: order.append("quick")),
        "cold": Contestant(lambda: order.append("cold"), warm=False),
    }
    interleaved(contestants, Options(threads=1, rounds=2))
    assert order == ["quick", "quick", "cold", "quick", "cold"]  # the first one untimed
    times = interleaved(contestants, Options(threads=1, rounds=3, patience=0.0))
    assert {name: len(values) for name, values in times.items()} == {"quick": 1, "cold": 1}


def test_ratios_are_taken_within_a_round():
    assert ratio([2.0, 30.0], [1.0, 10.0, 99.0]) == Spread(2.5, 2.0, 3.0, 2)
