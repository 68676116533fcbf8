"""The clock of the benchmark: who is called, when, and what is counted."""

import gc
from types import SimpleNamespace

import pytest

import fdl
from fdl.bench import timing


class Clock:
    """A clock that stands still until a candidate moves it."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        self.log = []
        self.rests = []
        fake = SimpleNamespace(perf_counter=lambda: self.now, sleep=self.rest)
        monkeypatch.setattr(timing, "time", fake)

    def rest(self, seconds):
        self.now += 0.25
        self.rests.append((len(self.log), seconds))

    def candidate(self, name, seconds, first=0.0):
        def call():
            self.now += seconds + (first if name not in self.log else 0.0)
            self.log.append(name)

        return call


def test_blocks_alternate_forwards_and_backwards(monkeypatch):
    clock = Clock(monkeypatch)
    calls = {name: clock.candidate(name, 1.0) for name in "abc"}
    fdl.bench.interleaved(calls, blocks=4, min_block_seconds=0.0, max_seconds=100.0)
    assert "".join(clock.log[-12:]) == "abccbaabccba"
    assert {name: clock.log.count(name) for name in calls} == dict.fromkeys(calls, 3 + 4)


def test_each_block_starts_with_a_rest_that_is_not_counted(monkeypatch):
    clock = Clock(monkeypatch)
    calls = {name: clock.candidate(name, 60.0) for name in "ab"}
    found = fdl.bench.interleaved(calls, blocks=3)
    assert clock.rests == [(call, timing.REST) for call in range(6, 12)]
    assert found["a"][1:4] == (60.0, 60.0, 60.0)


def test_the_first_call_is_counted_apart(monkeypatch):
    clock = Clock(monkeypatch)
    found = fdl.bench.interleaved({"a": clock.candidate("a", 0.5, first=7.0)}, blocks=5)
    assert found["a"] == fdl.bench.Timing(7.5, 0.5, 0.5, 0.5, 5, 1)
    assert found["a"].compile == 7.0


def test_first_calls_made_before_are_not_made_again(monkeypatch):
    clock = Clock(monkeypatch)
    calls = {"a": clock.candidate("a", 1.0), "b": clock.candidate("b", 1.0)}
    found = fdl.bench.interleaved(calls, blocks=3, first_calls={"b": 9.0})
    assert (found["a"].first_call, found["b"].first_call) == (1.0, 9.0)
    assert clock.log.count("a") == clock.log.count("b") + 1


def test_quick_candidates_fill_their_blocks(monkeypatch):
    clock = Clock(monkeypatch)
    quick, slow = clock.candidate("quick", 0.25), clock.candidate("slow", 3.0)
    found = fdl.bench.interleaved(
        {"quick": quick, "slow": slow}, blocks=2, min_block_seconds=2.0, max_seconds=100.0
    )
    assert found["quick"].calls_per_block == 8
    assert found["slow"].calls_per_block == 1
    untimed = 1
    assert clock.log[-(2 * (8 + untimed) + 1 + 1) :] == [
        *["quick"] * (8 + untimed),
        *["slow"] * 2,
        *["quick"] * (8 + untimed),
    ]


def test_quartiles_are_over_blocks(monkeypatch):
    clock = Clock(monkeypatch)
    costs = iter([0, 0, 0, 5.0, 1.0, 4.0, 2.0, 3.0])

    def call():
        clock.now += next(costs)

    found = fdl.bench.interleaved({"a": call}, blocks=5, min_block_seconds=0.0, max_seconds=99)
    assert found["a"][1:4] == (2.0, 3.0, 4.0)


def test_slow_candidates_get_fewer_blocks(monkeypatch):
    clock = Clock(monkeypatch)
    calls = {name: clock.candidate(name, cost) for name, cost in (("a", 30.0), ("b", 0.5))}
    found = fdl.bench.interleaved(calls, blocks=9, max_seconds=50.0)
    assert (found["a"].blocks, found["b"].blocks) == (3, 9)


def test_every_result_is_waited_for():
    class Result:
        waited = 0

        def block_until_ready(self):
            self.waited += 1

    results = []

    def call():
        results.append(Result())
        return {"nested": [results[-1]]}

    fdl.bench.interleaved({"a": call}, blocks=3, min_block_seconds=0.0)
    assert [result.waited for result in results] == [1] * (3 + 3)


def test_garbage_waits_while_timing():
    states = []
    fdl.bench.interleaved({"a": lambda: states.append(gc.isenabled())}, blocks=3)
    assert states[0]  # the first call
    assert not any(states[1:])
    assert gc.isenabled()


@pytest.mark.parametrize(
    "bad", [{"blocks": 0}, {"min_block_seconds": -1.0}, {"max_seconds": -1.0}], ids=str
)
def test_interleaved_checks_its_arguments(bad):
    with pytest.raises(ValueError, match="interleaved: expected"):
        fdl.bench.interleaved({"a": int}, **bad)
    with pytest.raises(ValueError, match="0 candidates"):
        fdl.bench.interleaved({})


def test_times_are_of_a_step():
    found = fdl.bench.Timing(
        first_call=9.0, low=3.0, median=4.0, high=5.0, blocks=7, calls_per_block=2
    )
    assert found.each(4) == fdl.bench.Timing(6.0, 0.75, 1.0, 1.25, 7, 2)
    assert found.each(4).compile == 5.0
