"""A recorded reference: torch is run once, and compared with as often as one likes."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import fdl
import fdl.functional as F
from fdl import nn
from fdl.parity import compare, record

GENERATOR = np.random.default_rng(0)
BATCHES = [(GENERATOR.normal(size=(6, 4)), GENERATOR.integers(0, 3, 6)) for _ in range(2)]


class Imprecise(nn.Linear):
    """Right in meaning; in float32 its product is rounded to bfloat16."""

    def __call__(self, input):
        if input.dtype == jnp.float64:
            return super().__call__(input)
        product = F.linear(input.astype(jnp.bfloat16), self.weight[...].astype(jnp.bfloat16))
        return product.astype(input.dtype) + self.bias[...]


def network(last=nn.Linear) -> fdl.Model:
    return fdl.as_model(
        lambda rngs: nn.Sequential(
            nn.Linear(4, 5, rngs=rngs), nn.Dropout(0.5, rngs=rngs), last(5, 3, rngs=rngs)
        )
    )


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    torch.manual_seed(0)
    layers = torch.nn
    twin = layers.Sequential(layers.Linear(4, 5), layers.Dropout(0.5), layers.Linear(5, 3))
    return record(
        twin,
        tmp_path_factory.mktemp("recordings") / "twin.fdl",
        BATCHES,
        loss="cross_entropy",
        optimizer=torch.optim.AdamW,
        steps=2,
        draws=1,
    )


def test_a_correct_port_is_equal_in_both_precisions(recording):
    report = compare(recording, network(), loss="cross_entropy", optimizer=fdl.optim.adamw())
    assert report.equal, str(report)
    assert {row.kind for row in report.rows} >= {"activation", "mask", "parameter"}
    assert {row.precision for row in report.rows} == {"float64", "float32"}
    assert report.setup["reference"] == "Sequential"
    assert report.setup["steps"] == 2


def test_a_wrong_optimizer_is_explained_without_running_torch(recording):
    optimizer = fdl.optim.adam(weight_decay=1e-2)
    report = compare(
        recording, network(), loss="cross_entropy", optimizer=optimizer, precisions=["float64"]
    )
    first = report.first_divergence
    assert first is not None
    assert (first.phase, first.step) == ("update", 1)
    assert first.causes[0].name == "weight decay"


def test_imprecision_is_found_with_as_many_draws_as_there_are(recording):
    report = compare(
        recording, network(Imprecise), loss="cross_entropy", optimizer=fdl.optim.adamw()
    )
    assert report.first_divergence is not None
    assert report.first_divergence.precision == "float32"
    assert report.first_divergence.module == "2"


def test_a_pair_is_taken_for_its_jax_half(recording):
    report = compare(
        recording,
        network(),
        loss=(None, F.cross_entropy),
        optimizer=(None, fdl.optim.adamw()),
        precisions=["float64"],
    )
    assert report.equal, str(report)


def test_an_optimizer_has_to_be_on_both_sides(recording):
    with pytest.raises(ValueError, match=r"was made with an optimizer, got none"):
        compare(recording, network(), loss="cross_entropy")


def test_what_is_no_recording_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no recording at .*nothing"):
        compare(tmp_path / "nothing", network(), loss="cross_entropy")
    (tmp_path / "text").write_text("not a zip file")
    with pytest.raises(ValueError, match=r"is not a recording"):
        compare(tmp_path / "text", network(), loss="cross_entropy")


def test_a_failed_recording_leaves_an_earlier_one_whole(tmp_path):
    class Broken(torch.nn.Linear):
        def forward(self, input):
            raise RuntimeError("no")

    path = tmp_path / "earlier.fdl"
    path.write_text("precious")
    with pytest.raises(ValueError, match=r"record: the reference raised RuntimeError.*: no"):
        record(Broken(4, 3), path, BATCHES, loss="cross_entropy")
    assert path.read_text() == "precious"


def test_wrong_arguments_say_what_is_expected(tmp_path):
    linear = torch.nn.Linear(4, 3)
    with pytest.raises(ValueError, match=r"draws: expected 1 or more, got 0"):
        record(linear, tmp_path / "r", BATCHES, loss="cross_entropy", draws=0)
    with pytest.raises(ValueError, match=r"loss: expected a name, or a pair"):
        compare(linear, network(), BATCHES, loss=torch.nn.functional.cross_entropy)
