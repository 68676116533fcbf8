"""The workloads: fdl, Flax and torch compute the same in each of them."""

from functools import partial

import jax
import numpy as np
import pytest
from bench_small import SIZES
from flax import nnx, traverse_util
from nearness import assert_near

import fdl
from fdl.bench import _flax_variants, families, memory, variants
from fdl.bench.gate import CHECKED_CALLS, Gate
from fdl.bench.variants import MANY, LeftOutError

TINY = {
    "mlp": lambda: families.mlp(batch=5, sizes=SIZES),
    "autoencoder": lambda: families.autoencoder(batch=5, sizes=[8, 6, 4]),
    "conv_autoencoder": lambda: families.conv_autoencoder(batch=2),
    "cnn": lambda: families.cnn(batch=2),
    "rnn": lambda: families.recurrent("rnn", batch=2, steps=5, features=3, hidden=8),
    "gru": lambda: families.recurrent("gru", batch=2, steps=5, features=3, hidden=8),
    "lstm": lambda: families.recurrent("lstm", batch=2, steps=5, features=3, hidden=8),
    "bert": lambda: families.bert(batch=2, tokens=6, layers=2, hidden=16, heads=2),
}


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("variant", ["jax jit", "flax nnx", "flax linen"])
def test_every_family_trains_and_infers_as_torch(name, variant):
    case = TINY[name]()
    if (name, variant) == ("gru", "flax nnx"):
        with pytest.raises(LeftOutError, match=r"nnx.GRUCell lacks the bias"):
            variants.build(case, "training", variant)
        return
    for phase in case.phases:
        assert_as_torch(case, phase, variant)


@pytest.mark.nightly
@pytest.mark.parametrize("variant", ["jax jit", "flax nnx", "flax linen"])
@pytest.mark.parametrize("name", ["alexnet", "resnet18_64", "mobilenet_v2", "adamw"])
def test_every_large_workload_computes_what_torch_computes(name, variant):
    case = fdl.bench.workload(name)
    for phase in case.phases:
        assert_as_torch(case, phase, variant)


def assert_as_torch(case, phase, variant):
    with jax.numpy_dtype_promotion("standard"):  # Flax's batch norm mixes dtypes
        built = variants.build(case, phase, variant)
        results = [built.read(built.call()) for _ in range(CHECKED_CALLS)]
    verdict = Gate(case, phase).check(variant, results)
    assert 0 <= verdict.error <= verdict.budget


@pytest.mark.parametrize("name", fdl.bench.WORKLOADS)
def test_every_workload_has_a_network_of_each_library(name):
    case = fdl.bench.workload(name)
    network, arguments = case.flax
    for library in (_flax_variants._nnx_networks, _flax_variants._linen_networks):
        assert network in library.NETWORKS
    assert arguments.keys() <= {"sizes", "cell", "features", "hidden", "layers", "config"}
    assert case.phases == (("training",) if name == "adamw" else fdl.bench.PHASES)


def leaf_shapes(case, library):
    """Torch's way of writing a leaf's name to the leaf, nothing of which is computed."""
    name, arguments = case.flax
    if library == "nnx":
        make = _flax_variants._nnx_networks.NETWORKS[name]
        abstract = nnx.eval_shape(lambda: make(**arguments, rngs=nnx.Rngs(0)))
        flat = nnx.to_flat_state(nnx.state(abstract, (nnx.Param, nnx.BatchStat)))
        return {_flax_variants._flax_weights.name_of(path): leaf for path, leaf in flat}
    network = _flax_variants._linen_networks.NETWORKS[name](**arguments)
    inputs = [np.moveaxis(x, 1, -1) if x.ndim == 4 else x for x in case.batch[:-1]]
    inputs = [x if x.dtype == np.float32 else x.astype(np.int32) for x in inputs]
    found = jax.eval_shape(partial(network.init, train=False), jax.random.key(0), *inputs)
    return {
        _flax_variants._flax_weights.name_of(path): leaf
        for tree in found.values()
        for path, leaf in traverse_util.flatten_dict(tree).items()
    }


@pytest.mark.parametrize("name", ["resnet18_64", "mobilenet_v2", "alexnet", "minilm"])
@pytest.mark.parametrize("library", ["nnx", "linen"])
def test_every_flax_leaf_is_one_of_torchs(name, library):
    """Names and shapes alone, without arrays: a missing or misshapen leaf raises."""
    case = fdl.bench.workload(name)
    params, buffers = jax.eval_shape(case.model.init, jax.random.key(0))
    weights = {k: np.broadcast_to(np.float32(0), x.shape) for k, x in {**params, **buffers}.items()}
    shapes = leaf_shapes(case, library)
    found = _flax_variants._flax_weights.initial(case.flax[0], shapes, weights)
    assert {path: x.shape for path, x in found.items()} == {p: x.shape for p, x in shapes.items()}
    counted = sum(x.size for n, x in {**params, **buffers}.items() if "num_batches" not in n)
    assert sum(x.size for x in found.values()) == counted


def test_many_steps_are_those_of_single_ones(small):
    one, many = (variants.build(small, "training", name) for name in ("jax jit", MANY))
    assert (one.steps, many.steps) == (1, variants.STEPS)
    losses = [float(one.call()) for _ in range(variants.STEPS)]
    assert_near(many.read(many.call()), losses)


def test_convolutions_stay_out_of_loops():
    with pytest.raises(LeftOutError, match="convolutions inside loops"):
        variants.build(families.cnn(batch=2), "training", MANY)


def test_memory_of_a_step_is_measured_apart():
    case = fdl.bench.workload("mlp_b32")
    weights = 4 * sum(a * b + b for a, b in ((784, 512), (512, 512), (512, 10)))
    for variant in ("jax jit", "torch eager"):
        found = memory.peak(case, variant)
        assert found is not None
        assert 3 * weights < found < 40 * weights  # weights, two moments, gradients; and the rest


def test_the_batch_can_be_chosen():
    assert fdl.bench.workload("mlp", batch=7).batch[0].shape == (7, 784)
    with pytest.raises(ValueError, match="batch: expected 1 or more, got 0"):
        fdl.bench.workload("mlp", batch=0)
    with pytest.raises(ValueError, match="adamw is timed alone and has no batch"):
        fdl.bench.workload("adamw", batch=3)
