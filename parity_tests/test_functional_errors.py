"""Bad input raises at once, and the error says what was expected and what came."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import fdl
import fdl.functional as F

IMAGES = jnp.ones((2, 4, 6, 6))
KERNEL = jnp.ones((3, 4, 3, 3))
ROWS = jnp.ones((2, 3))
HALF = jnp.bfloat16
LABELS = jnp.zeros(2, int)
RNGS = nnx.Rngs(0)
SEQUENCE = jnp.ones((5, 2, 3))
WEIGHTS = [[F.LSTMWeights(jnp.ones((16, 3)), jnp.ones((16, 4)))]]
STACKED = [*WEIGHTS, [F.LSTMWeights(jnp.ones((16, 4)), jnp.ones((16, 4)))]]
STATES = (jnp.ones((1, 2, 4)), jnp.ones((1, 2, 4)))


def bad(error: type[Exception], names: str, function: Any, *args: Any, **kwargs: Any) -> Any:
    """A call that must raise, with `names` what its message must name, divided by ``;``."""
    return pytest.param(partial(function, *args, **kwargs), error, names.split(";"), id=names)


CALLS = [
    # linear
    bad(ValueError, "linear;input features;4;3", F.linear, ROWS, jnp.ones((2, 4))),
    bad(TypeError, "linear;input float32;weight bfloat16", F.linear, ROWS, jnp.ones((2, 3), HALF)),
    bad(TypeError, "bias bfloat16", F.linear, ROWS, jnp.ones((2, 3)), jnp.ones(2, HALF)),
    bad(TypeError, "linear;input int32", F.linear, ROWS.astype(int), jnp.ones((2, 3))),
    # conv2d
    bad(ValueError, "conv2d;input channels;4;5", F.conv2d, jnp.ones((2, 5, 6, 6)), KERNEL),
    bad(ValueError, "conv2d;(N, C, H, W);(4, 6)", F.conv2d, jnp.ones((4, 6)), KERNEL),
    bad(ValueError, "conv2d;weight;(4, 3, 3)", F.conv2d, IMAGES, jnp.ones((4, 3, 3))),
    bad(TypeError, "conv2d;uint8;float32", F.conv2d, IMAGES.astype("uint8"), KERNEL),
    bad(
        ValueError,
        "conv2d;padding;'valid' or 'same';'SAME'",
        F.conv2d,
        IMAGES,
        KERNEL,
        None,
        1,
        "SAME",
    ),
    bad(ValueError, "conv2d;padding;stride 1;(2, 2)", F.conv2d, IMAGES, KERNEL, None, 2, "same"),
    bad(ValueError, "conv2d;padding;2, got 3", F.conv2d, IMAGES, KERNEL, padding=(1, 1, 1)),
    bad(ValueError, "conv2d;padding;-1", F.conv2d, IMAGES, KERNEL, padding=-1),
    bad(ValueError, "conv2d;stride;0", F.conv2d, IMAGES, KERNEL, stride=0),
    bad(ValueError, "conv2d;dilation;0", F.conv2d, IMAGES, KERNEL, dilation=(1, 0)),
    bad(ValueError, "conv2d;groups;3 output;got 2", F.conv2d, IMAGES, KERNEL[:, :2], groups=2),
    bad(ValueError, "conv2d;groups;got 0", F.conv2d, IMAGES, KERNEL, groups=0),
    bad(ValueError, "conv2d;bias;3;got 4", F.conv2d, IMAGES, KERNEL, jnp.ones(4)),
    bad(ValueError, "conv2d;input;(3, 3);(2, 6)", F.conv2d, jnp.ones((1, 4, 2, 6)), KERNEL),
    # max_pool2d
    bad(ValueError, "max_pool2d;(N, C, H, W);(2, 3)", F.max_pool2d, ROWS, 2),
    bad(ValueError, "max_pool2d;padding;half;(2, 2)", F.max_pool2d, IMAGES, 3, padding=2),
    bad(ValueError, "max_pool2d;padding;(-1, -1)", F.max_pool2d, IMAGES, 3, padding=-1),
    bad(ValueError, "max_pool2d;input;(7, 7);(6, 6)", F.max_pool2d, IMAGES, 7),
    bad(ValueError, "max_pool2d;kernel_size;0", F.max_pool2d, IMAGES, 0),
    bad(ValueError, "max_pool2d;stride;0", F.max_pool2d, IMAGES, 2, 0),
    # batch_norm
    bad(
        ValueError,
        "batch_norm;input channels;4;3",
        F.batch_norm,
        IMAGES,
        None,
        None,
        jnp.ones(3),
        training=True,
    ),
    bad(ValueError, "batch_norm;running_mean;3;4", F.batch_norm, IMAGES, jnp.ones(3), jnp.ones(3)),
    bad(ValueError, "batch_norm;running_var;3;4", F.batch_norm, IMAGES, jnp.ones(4), jnp.ones(3)),
    bad(ValueError, "batch_norm;running_mean;None", F.batch_norm, IMAGES, None, None),
    bad(
        ValueError,
        "batch_norm;more than 1 value;(1, 3)",
        F.batch_norm,
        ROWS[:1],
        None,
        None,
        training=True,
    ),
    bad(
        TypeError,
        "batch_norm;weight bfloat16",
        F.batch_norm,
        IMAGES,
        None,
        None,
        jnp.ones(4, HALF),
        training=True,
    ),
    # dropout
    bad(ValueError, "dropout;p;1.5", F.dropout, ROWS, 1.5),
    bad(ValueError, "dropout;p;-0.1", F.dropout, ROWS, -0.1, training=False),
    bad(ValueError, "dropout;key;None", F.dropout, ROWS, 0.5),
    # losses
    bad(ValueError, "mse_loss;target;(2, 3);(2,)", F.mse_loss, ROWS, jnp.ones(2)),
    bad(TypeError, "mse_loss;target int32", F.mse_loss, ROWS, ROWS.astype(int)),
    bad(ValueError, "reduction;'mean', 'sum' or 'none';'max'", F.mse_loss, ROWS, ROWS, "max"),
    bad(ValueError, "cross_entropy;(2,);(2, 1)", F.cross_entropy, ROWS, LABELS[:, None]),
    bad(ValueError, "cross_entropy;(2,);(3,)", F.cross_entropy, ROWS, jnp.zeros(3, int)),
    bad(ValueError, "cross_entropy;(2, 3);(2, 4)", F.cross_entropy, ROWS, jnp.ones((2, 4))),
    bad(ValueError, "cross_entropy;0 to 2;got 3", F.cross_entropy, ROWS, LABELS + 3),
    bad(TypeError, "cross_entropy;bool", F.cross_entropy, ROWS, LABELS == 0),
    bad(
        TypeError, "cross_entropy;weight bfloat16", F.cross_entropy, ROWS, LABELS, jnp.ones(3, HALF)
    ),
    bad(TypeError, "cross_entropy;target bfloat16", F.cross_entropy, ROWS, ROWS.astype(HALF)),
    bad(ValueError, "cross_entropy;weight;3;got 4", F.cross_entropy, ROWS, LABELS, jnp.ones(4)),
    bad(
        ValueError,
        "cross_entropy;label_smoothing;1.5",
        F.cross_entropy,
        ROWS,
        LABELS,
        label_smoothing=1.5,
    ),
    bad(ValueError, "reduction;'batchmean'", F.cross_entropy, ROWS, LABELS, reduction="batchmean"),
    # lstm
    bad(ValueError, "lstm;input;(L, N, I);(2, 3)", F.lstm, ROWS, None, WEIGHTS),
    bad(ValueError, "lstm;input features;3;4", F.lstm, jnp.ones((5, 2, 4)), None, WEIGHTS),
    bad(
        ValueError,
        "lstm;h_0;(1, 2, 4);(2, 2, 4)",
        F.lstm,
        SEQUENCE,
        (jnp.ones((2, 2, 4)), STATES[1]),
        WEIGHTS,
    ),
    bad(
        ValueError,
        "lstm;c_0;(1, 2, 4);(1, 4)",
        F.lstm,
        SEQUENCE,
        (STATES[0], jnp.ones((1, 4))),
        WEIGHTS,
    ),
    bad(TypeError, "float32;bfloat16", F.lstm, SEQUENCE.astype(HALF), None, WEIGHTS),
    bad(
        TypeError,
        "lstm;h_0 bfloat16",
        F.lstm,
        SEQUENCE,
        (STATES[0].astype(HALF), STATES[1]),
        WEIGHTS,
    ),
    bad(ValueError, "key;None", F.lstm, SEQUENCE, None, STACKED, 0.5, training=True),
    # layers, when made
    bad(ValueError, "Conv2d;groups;in_channels=4;3", fdl.nn.Conv2d, 4, 6, 3, groups=3, rngs=RNGS),
    bad(
        ValueError,
        "Conv2d;padding_mode;'reflect';'mirror'",
        fdl.nn.Conv2d,
        4,
        4,
        3,
        padding_mode="mirror",
        rngs=RNGS,
    ),
    bad(ValueError, "Conv2d;padding;'full'", fdl.nn.Conv2d, 4, 4, 3, padding="full", rngs=RNGS),
    bad(ValueError, "Conv2d;padding;stride 1", fdl.nn.Conv2d, 4, 4, 3, 2, "same", rngs=RNGS),
    bad(ValueError, "Conv2d;kernel_size;0", fdl.nn.Conv2d, 4, 4, 0, rngs=RNGS),
    bad(ValueError, "Dropout;p;2", fdl.nn.Dropout, 2.0, rngs=RNGS),
    bad(ValueError, "LSTM;num_layers;0", fdl.nn.LSTM, 3, 4, 0, rngs=RNGS),
    bad(ValueError, "LSTM;proj_size;3;got 4", fdl.nn.LSTM, 3, 4, proj_size=4, rngs=RNGS),
    bad(ValueError, "LSTM;dropout;-0.5", fdl.nn.LSTM, 3, 4, dropout=-0.5, rngs=RNGS),
    # layers, when called
    bad(ValueError, "BatchNorm2d;(N, C, H, W);(2, 3)", fdl.nn.BatchNorm2d(3), ROWS),
    bad(ValueError, "Flatten;start_dim;end_dim=1;2", fdl.nn.Flatten(2, 1), IMAGES),
    bad(ValueError, "Flatten;end_dim;5", fdl.nn.Flatten(0, 5), IMAGES),
    bad(
        ValueError,
        "LSTM;input;(N, L, I);(3,)",
        fdl.nn.LSTM(3, 4, batch_first=True, rngs=RNGS),
        jnp.ones(3),
    ),
    bad(
        ValueError,
        "Conv2d;reflect;padding;6",
        fdl.nn.Conv2d(4, 4, 3, padding=6, padding_mode="reflect", rngs=RNGS),
        IMAGES,
    ),
]


@pytest.mark.parametrize(("call", "error", "names"), CALLS)
def test_bad_input(call, error, names):
    with pytest.raises(error, match="expect") as raised:
        call()
    message = str(raised.value)
    assert "got" in message
    assert all(name in message for name in names), message


def test_dropout_without_key_names_the_layer():
    model = fdl.as_model(lambda rngs: fdl.nn.Sequential(fdl.nn.Dropout(0.5, rngs=rngs)))
    with pytest.raises(ValueError, match=r"expected a jax\.random\.key, got None.*'0'"):
        model.apply({}, {}, ROWS, train=True)


def test_wrong_parameters_are_all_listed():
    model = fdl.models.mlp([3, 4, 2])
    params, buffers = model.init(jax.random.key(0))
    wrong = {**params, "0.weight": ROWS, "extra": ROWS}
    del wrong["2.bias"]
    with pytest.raises(ValueError, match="3 problems") as raised:
        model.apply(wrong, buffers, ROWS)
    for problem in (
        "'0.weight': expected shape (4, 3), got (2, 3)",
        "missing '2.bias'",
        "unexpected 'extra'",
    ):
        assert problem in str(raised.value)
