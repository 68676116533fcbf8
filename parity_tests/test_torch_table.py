"""fdl.nn on the sample inputs that PyTorch tests its own modules with: every tensor, both modes."""

import pytest
from samples.engine import compared, worst
from samples.refusal import refuses
from samples.table import EXCLUDED, INFOS, error_samples, table_samples

PARTS = {
    "LinearCrossEntropyLoss": 16,
    **dict.fromkeys(("CrossEntropyLoss", "Transformer", "TransformerDecoderLayer"), 4),
    **dict.fromkeys(("MultiheadAttention", "TransformerEncoder", "TransformerEncoderLayer"), 4),
    **dict.fromkeys(("RNN", "LSTM", "GRU"), 4),
}
"""Into how many tests a module's samples are divided, so that workers share them. Transformers
take the longest to compile: in the ordinary run the first part stands for the others."""

FIRST = 4
"""How many samples of a module the ordinary run compares in float32 too."""

CASES = [
    pytest.param(
        name,
        part,
        id=f"{name}-{part}" if PARTS.get(name, 1) > 1 else name,
        marks=[pytest.mark.nightly] if part and name.startswith("Transformer") else [],
    )
    for name in INFOS
    if name not in EXCLUDED
    for part in range(PARTS.get(name, 1))
]


def checked(
    name: str,
    precision: str,
    chosen: slice,
    record_property,
    modes: tuple[bool, ...] = (True, False),
) -> None:
    most, passed, wrong = 0.0, 0, []
    for train in modes:
        for sample in list(table_samples(name, train=train))[chosen]:
            rows = compared(sample, train=train, precision=precision)
            assert rows, "a sample without a tensor to compare shows nothing"
            most = max(most, worst(rows))
            passed += all(row.equal for row in rows)
            wrong += [f"{sample.label}: {row}" for row in rows if not row.equal]
    record_property("samples", (name, precision, "torch", passed, most))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("name", "part"), CASES)
def test_meaning(name, part, record_property):
    """In both modes where torch says that they differ, else in training."""
    modes = (True, False) if INFOS[name].train_and_eval_differ else (True,)
    checked(name, "float64", slice(part, None, PARTS.get(name, 1)), record_property, modes)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("name", "part"), [case for case in CASES if not INFOS[case.values[0]].train_and_eval_differ]
)
def test_meaning_in_evaluation(name, part, record_property):
    chosen = slice(part, None, PARTS.get(name, 1))
    checked(name, "float64", chosen, record_property, (False,))


@pytest.mark.parametrize("name", [name for name in INFOS if name not in EXCLUDED])
def test_precision(name, record_property):
    checked(name, "float32", slice(0, FIRST), record_property)


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "part"), CASES)
def test_precision_of_the_rest(name, part, record_property):
    checked(name, "float32", slice(FIRST + part, None, PARTS.get(name, 1)), record_property)


def test_what_is_excluded_is_in_the_table_and_little():
    assert EXCLUDED.keys() <= INFOS.keys()
    sizes = {name: len(list(table_samples(name, train=True))) for name in INFOS}
    assert sum(sizes[name] for name in EXCLUDED) < 0.02 * sum(sizes.values())


@pytest.mark.parametrize("name", [n for n in INFOS if INFOS[n].module_error_inputs_func])
def test_what_torch_refuses(name):
    samples = list(error_samples(name))
    assert samples
    for sample, expected in samples:
        with pytest.raises(expected.error_type):
            sample.in_torch()(*sample.inputs, **sample.named)
        refuses(sample)
