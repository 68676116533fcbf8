"""fdl.nn and fdl.functional on samples of our own: what torch's table lacks, and generated ones."""

from collections import Counter
from importlib import import_module

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from samples.catalogue import FAMILIES, functions, layers, own_samples, shown
from samples.engine import compared, worst

numbers: Counter[str] = Counter()


def numbered(name: str) -> str:
    numbers[name] += 1
    return f"{name}-{numbers[name]}"


EACH = pytest.mark.parametrize(
    "sample", [pytest.param(s, id=numbered(s.name)) for s in own_samples()]
)
GENERATED = {
    f"{family}-{kind}": strategy
    for family in FAMILIES
    for kind, strategy in getattr(import_module(f"samples.{family}"), "GENERATED", {}).items()
}
REFUSED = [
    pytest.param(refusal, id=f"{family}-{index}")
    for family in FAMILIES
    for index, refusal in enumerate(import_module(f"samples.{family}").REFUSED)
]


def check(sample, precision: str) -> float:
    rows = [
        row for train in (True, False) for row in compared(sample, train=train, precision=precision)
    ]
    assert rows, "a sample without a tensor to compare shows nothing"
    wrong = [str(row) for row in rows if not row.equal]
    assert not wrong, "\n".join([str(sample), *wrong])
    return worst(rows)


@EACH
def test_meaning(sample, record_property):
    record_property("samples", (sample.name, "float64", "own", 1, check(sample, "float64")))


@pytest.mark.nightly
@EACH
def test_precision(sample, record_property):
    record_property("samples", (sample.name, "float32", "own", 1, check(sample, "float32")))


def generated(kind: str, count: int, record_property) -> int:
    """Checks generated samples, and returns how many there were."""
    seen: list[float] = []

    @settings(
        max_examples=count,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
    )
    @given(GENERATED[kind])
    def every(sample):
        seen.append(check(sample, "float64"))

    every()
    record_property("samples", (kind, "float64", "generated", len(seen), max(seen)))
    return len(seen)


@pytest.mark.parametrize("kind", GENERATED)
def test_generated(kind, record_property):
    count = -(-200 // len(GENERATED))
    assert generated(kind, count, record_property) >= count


@pytest.mark.nightly
@pytest.mark.parametrize("kind", GENERATED)
def test_generated_at_length(kind, record_property):
    count = -(-2000 // len(GENERATED))
    assert generated(kind, count, record_property) >= count


@pytest.mark.parametrize("refusal", REFUSED)
def test_bad_input(refusal):
    with pytest.raises(refusal.error, match="expect") as raised:
        refusal.call()
    message = str(raised.value)
    assert "got" in message
    assert all(word in message for word in refusal.words.split(";")), message


def test_every_layer_has_a_sample():
    assert set(layers()) - shown().keys() == set()


def test_every_function_has_a_sample_or_a_layer():
    def plain(name: str) -> str:
        return name.lower().replace("_", "").replace("binarycrossentropy", "bce")

    known = {plain(name) for name in shown()}
    missing = [n for n in functions() if not known & {plain(n), plain(n) + "loss"}]
    assert missing == []
