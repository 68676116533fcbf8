"""Variables written as a whole: as Flax writes them, without a question that is slow in tracing."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import fdl
from fdl._variables import streams

NETWORKS = {
    "batch norm": lambda: fdl.models.mobilenet_v2(width_mult=0.25, dropout=0.5),
    "transformer": lambda: fdl.as_model(
        lambda rngs: fdl.nn.TransformerEncoder(
            fdl.nn.TransformerEncoderLayer(8, 2, 16, 0.1, rngs=rngs), 2
        )
    ),
}
INPUTS = {"batch norm": (2, 3, 32, 32), "transformer": (5, 2, 8)}


def test_keys_are_flaxs():
    ours, theirs = streams(7), nnx.Rngs(7)
    for _ in range(2):
        for draw in (lambda rngs: rngs.params(), lambda rngs: rngs.dropout.fork()()):
            assert draw(ours) == draw(theirs)


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_traced_is_asked_for_its_sharding(name, monkeypatch):
    def asked(tracer):
        raise AssertionError(f"{tracer} was asked for its sharding")

    monkeypatch.setattr(jax.core.Tracer, "sharding", property(asked))
    model, key = NETWORKS[name](), jax.random.key(0)
    params, buffers = jax.eval_shape(model.init, key)
    batch = jax.ShapeDtypeStruct(INPUTS[name], jnp.float32)
    apply = jax.make_jaxpr(lambda *args: model.apply(*args, train=True, key=key))
    assert apply(params, buffers, batch).eqns
