"""Turns a network of your own into pure functions, and takes its weights to PyTorch and back.

Shows `fdl.as_model` on a network with two inputs, a dict as output, and a plain Flax layer among
fdl's. It tells three cultivars of wine apart: by colour, by chemistry, and by both together.

Run: python examples/own_network.py (with PyTorch installed, it is compared too)
"""

import argparse
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import fdl
import fdl.functional as F

COLOUR = [9, 10]  # intensity and hue, among 13 measurements


class WineNet(fdl.nn.Module):
    """Two small networks, each with an opinion of its own; together they add their logits."""

    def __init__(self, rngs: nnx.Rngs):
        self.colour = branch(2, rngs)
        self.chemistry = branch(11, rngs)

    def __call__(self, colour: jax.Array, chemistry: jax.Array) -> dict[str, jax.Array]:
        """Returns three opinions, ``(N, 3)`` logits each."""
        by_colour, by_chemistry = self.colour(colour), self.chemistry(chemistry)
        return {"colour": by_colour, "chemistry": by_chemistry, "both": by_colour + by_chemistry}


def branch(features: int, rngs: nnx.Rngs) -> fdl.nn.Sequential:
    """Makes one of the two, from `features` measurements to three logits."""
    return fdl.nn.Sequential(
        fdl.nn.Linear(features, 16, rngs=rngs),
        # Flax's own layer; if it had parameters, they would go by Flax's names.
        nnx.LayerNorm(16, epsilon=1e-5, use_bias=False, use_scale=False, rngs=rngs),
        fdl.nn.Tanh(),
        fdl.nn.Linear(16, 3, rngs=rngs),
    )


def compare_with_torch(model: fdl.Model, params: fdl.Params, buffers: fdl.Buffers, inputs) -> None:
    """Moves the weights to PyTorch, compares the outputs, and moves the weights back."""
    from torch import nn

    def branch(features):
        norm = nn.LayerNorm(16, elementwise_affine=False)
        return nn.Sequential(nn.Linear(features, 16), norm, nn.Tanh(), nn.Linear(16, 3))

    twin = nn.ModuleDict({"colour": branch(2), "chemistry": branch(11)})
    twin.load_state_dict(fdl.interop.to_torch(params, buffers))
    colour, chemistry = map(fdl.interop.to_tensor, inputs)
    expected = fdl.interop.to_jax(twin["colour"](colour) + twin["chemistry"](chemistry))
    output, _ = model.apply(params, buffers, *inputs)
    difference = jnp.abs(output["both"] - expected).max()
    print(f"largest difference of a logit from PyTorch  {difference:.1e}")

    returned, _ = fdl.interop.from_torch(twin, like=model)
    same = all(np.array_equal(returned[name], params[name]) for name in params)
    print(f"weights back from PyTorch                   {'identical' if same else 'CHANGED'}")


def main() -> None:
    """Trains, tests once, draws confusion matrices, and compares with PyTorch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/own_network"))
    parser.add_argument("--epochs", type=int, default=40)
    arguments = parser.parse_args()

    wines, cultivars = load_wine(return_X_y=True)
    train, test, train_labels, labels = train_test_split(
        wines, cultivars, test_size=0.3, stratify=cultivars, random_state=0
    )
    scaler = StandardScaler().fit(train)

    def inputs_of(part):
        scaled = scaler.transform(part).astype(np.float32)
        return scaled[:, COLOUR], np.delete(scaled, COLOUR, axis=1)

    def loss(output, target):
        return jnp.stack([F.cross_entropy(logits, target) for logits in output.values()]).sum()

    model = fdl.as_model(WineNet)
    optimizer = fdl.optim.adamw(lr=3e-3)
    loss_fn = fdl.train.supervised(model, loss)
    params, buffers = model.init(jax.random.key(0))
    state = fdl.train.init_state(params, buffers, optimizer, key=jax.random.key(1))
    data = (*inputs_of(train), train_labels)
    result = fdl.train.fit(
        state, loss_fn, optimizer, data, epochs=arguments.epochs, batch_size=16, progress=False
    )

    inputs = inputs_of(test)
    output, _ = model.apply(result.params, result.buffers, *inputs)
    print(f"accuracy on {len(labels)} test wines")
    for head, logits in output.items():
        print(f"  by {head:<10} {fdl.train.accuracy(logits, labels):.2%}")
        picture = arguments.out / f"{head}.png"
        fdl.plots.confusion_matrix(labels, np.argmax(logits, axis=-1), ["A", "B", "C"], picture)
    if find_spec("torch"):
        compare_with_torch(model, result.params, result.buffers, inputs)
    print(f"pictures: {arguments.out}")


if __name__ == "__main__":
    main()
