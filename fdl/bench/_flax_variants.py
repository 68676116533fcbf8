"""The same networks in Flax NNX under ``nnx.jit``, and in Linen with ``TrainState``."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen, nnx, traverse_util
from flax.training.train_state import TrainState

from fdl.bench import _flax_weights, _linen_networks, _nnx_networks
from fdl.bench._workload import LEARNING_RATE, SEED, WEIGHT_DECAY, Workload, gradients
from fdl.bench.gate import read
from fdl.bench.timing import Candidate
from fdl.bench.variants import Built, LeftOutError

Leaves = dict[str, np.ndarray]

LOSSES: dict[str, Callable[..., jax.Array]] = {
    "cross_entropy": lambda output, target: optax.softmax_cross_entropy_with_integer_labels(
        output, target
    ).mean(),
    "mse_loss": lambda output, target: optax.squared_error(output, target).mean(),
}


class StatefulTrainState(TrainState):
    """A train state with the running statistics of batch norms."""

    batch_stats: Any


def build(workload: Workload, phase: str, library: str, module: Any) -> Built:
    """Makes one candidate from the twin's weights.

    Raises:
        LeftOutError: if Flax has no such network, or its cell is another.
    """
    if workload.flax is None:
        raise LeftOutError("it has no counterpart in Flax")
    cell = workload.flax[1].get("cell", "")
    if (library, cell) == ("nnx", "gru"):
        raise LeftOutError("nnx.GRUCell lacks the bias that torch's reset gate multiplies")
    params, buffers = workload.weights(module)
    weights = {name: np.asarray(x) for name, x in {**params, **buffers}.items()}
    if cell:
        weights = _flax_weights.recurrent(cell, library, weights)
    make = {"nnx": _nnx, "linen": _linen}[library]
    if workload.loss is None:
        grads = gradients({key: x.shape for key, x in params.items()})
        return Built(make(workload, phase, weights, grads), read=_kernel_as_torch)
    return Built(make(workload, phase, weights), read=_as_torch)


def _nnx(workload: Workload, phase: str, weights: Leaves, grads: Leaves | None = None) -> Candidate:
    name, arguments = workload.flax or ("", {})
    model = _nnx_networks.NETWORKS[name](**arguments, rngs=nnx.Rngs(SEED))
    state = nnx.state(model, (nnx.Param, nnx.BatchStat))
    named = {_flax_weights.name_of(path): leaf for path, leaf in nnx.to_flat_state(state)}
    nnx.update(model, _renamed(state, _flax_weights.initial(name, named, weights)))
    if phase == "inference":
        model.eval()
        return partial(nnx.jit(lambda model, *inputs: model(*inputs)), model, *_inputs(workload))
    model.train()
    optimizer = nnx.Optimizer(model, _optimizer(workload), wrt=nnx.Param)
    if workload.loss is None or grads is not None:
        return _nnx_optimizer_alone(model, optimizer, name, grads or {})
    loss_of, batch = LOSSES[workload.loss], _batch(workload)

    @nnx.jit
    def step(model, optimizer, batch):
        def objective(model):
            *inputs, target = batch
            return loss_of(model(*inputs), target)

        loss, grads = nnx.value_and_grad(objective)(model)
        optimizer.update(model, grads)
        return loss

    def call() -> jax.Array:
        loss = step(model, optimizer, batch)
        jax.block_until_ready(nnx.state(model))
        return loss

    return call


def _nnx_optimizer_alone(
    model: Any, optimizer: nnx.Optimizer, name: str, drawn: Leaves
) -> Candidate:
    params = nnx.state(model, nnx.Param)
    named = {_flax_weights.name_of(path): leaf for path, leaf in nnx.to_flat_state(params)}
    grads = _renamed(params, _flax_weights.initial(name, named, drawn))

    @nnx.jit
    def step(model, optimizer, grads):
        optimizer.update(model, grads)

    def call() -> jax.Array:
        step(model, optimizer, grads)
        jax.block_until_ready(nnx.state(model))
        return model.conv1.kernel[...]

    return call


def _renamed(state: Any, leaves: Leaves) -> Any:
    """A state of NNX with these values, found by torch's way of writing names."""
    flat = nnx.to_flat_state(state)
    return nnx.from_flat_state(
        [(p, leaf.replace(jnp.asarray(leaves[_flax_weights.name_of(p)]))) for p, leaf in flat]
    )


def _linen(
    workload: Workload, phase: str, weights: Leaves, grads: Leaves | None = None
) -> Candidate:
    name, arguments = workload.flax or ("", {})
    network: linen.Module = _linen_networks.NETWORKS[name](**arguments)
    inputs = _inputs(workload) or (jnp.ones((1, 64, 64, 3)),)
    shapes = jax.eval_shape(partial(network.init, train=False), jax.random.key(SEED), *inputs)
    variables = {kind: _tree(name, tree, weights) for kind, tree in shapes.items()}
    if phase == "inference":
        return partial(jax.jit(partial(network.apply, train=False)), variables, *inputs)
    state = StatefulTrainState.create(
        apply_fn=network.apply,
        params=variables["params"],
        tx=_optimizer(workload),
        batch_stats=variables.get("batch_stats", {}),
    )
    if workload.loss is None or grads is not None:
        return _linen_optimizer_alone(state, _tree(name, state.params, grads or {}))
    loss_of, batch = LOSSES[workload.loss], _batch(workload)

    @partial(jax.jit, donate_argnums=0)
    def step(state, batch):
        def objective(params):
            *inputs, target = batch
            variables = {"params": params, "batch_stats": state.batch_stats}
            output, updated = state.apply_fn(
                variables, *inputs, train=True, mutable=["batch_stats"]
            )
            return loss_of(output, target), updated.get("batch_stats", {})

        (loss, stats), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
        return state.apply_gradients(grads=grads, batch_stats=stats), loss

    def call() -> jax.Array:
        nonlocal state
        state, loss = step(state, batch)
        jax.block_until_ready(state)
        return loss

    return call


def _linen_optimizer_alone(state: StatefulTrainState, grads: Any) -> Candidate:
    step = jax.jit(lambda state, grads: state.apply_gradients(grads=grads), donate_argnums=0)

    def call() -> jax.Array:
        nonlocal state
        state = step(state, grads)
        jax.block_until_ready(state)
        return state.params["conv1"]["kernel"]

    return call


def _tree(network: str, shapes: Any, weights: Leaves) -> Any:
    """One kind of variables of Linen, from torch's tensors."""
    flat = traverse_util.flatten_dict(shapes)
    named = {_flax_weights.name_of(path): leaf for path, leaf in flat.items()}
    found = _flax_weights.initial(network, named, weights)
    return traverse_util.unflatten_dict(
        {path: jnp.asarray(found[_flax_weights.name_of(path)]) for path in flat}
    )


def _optimizer(workload: Workload) -> optax.GradientTransformation:
    """AdamW with torch's numbers; a bias that stands for two of torch's moves by both moves."""
    cell = workload.flax[1].get("cell") if workload.flax else None
    if cell is None:
        return optax.adamw(LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    def twice(params: Any) -> Any:
        def is_sum(path: Any, leaf: Any) -> bool:
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            return _flax_weights.summed(name, cell)

        return jax.tree_util.tree_map_with_path(is_sum, params)

    return optax.chain(
        optax.scale_by_adam(),
        optax.masked(optax.scale(2.0), twice),
        optax.add_decayed_weights(WEIGHT_DECAY),
        optax.scale_by_learning_rate(LEARNING_RATE),
    )


def _batch(workload: Workload) -> tuple[jax.Array, ...]:
    """The batch with channels last."""
    return tuple(x.transpose(0, 2, 3, 1) if x.ndim == 4 else x for x in workload.arrays())


def _inputs(workload: Workload) -> tuple[jax.Array, ...]:
    return _batch(workload)[:-1]


def _as_torch(result: Any) -> np.ndarray:
    """With channels first."""
    found = read(result)
    return found.transpose(0, 3, 1, 2) if found.ndim == 4 else found


def _kernel_as_torch(result: Any) -> np.ndarray:
    return read(result).transpose(3, 2, 0, 1)
