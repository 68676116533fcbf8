"""Shapes of both sides, with names, for tests of which leaf is which tensor."""

import ast
from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch
from flax import nnx

from fdl.parity.names import suggest_names

CNN_REFERENCE = torch.nn.Sequential(
    torch.nn.Conv2d(1, 4, 3),
    torch.nn.BatchNorm2d(4),
    torch.nn.ReLU(),
    torch.nn.Conv2d(4, 6, 3, bias=False),
    torch.nn.BatchNorm2d(6),
    torch.nn.Flatten(),
    torch.nn.Linear(6, 2),
)


def leaf(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def dense(inputs: int, outputs: int) -> dict[str, Any]:
    return {"kernel": leaf(inputs, outputs), "bias": leaf(outputs)}


def linears(**sizes: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """Shapes of torch Linears: name to (in, out)."""
    return {
        f"{name.replace('__', '.')}.{role}": shape
        for name, (inputs, outputs) in sizes.items()
        for role, shape in [("weight", (outputs, inputs)), ("bias", (outputs,))]
    }


def refused(reference: Any, params: Any) -> tuple[str, dict[str, Any]]:
    """The error's text and the start that it gives."""
    with pytest.raises(ValueError, match="in exactly one way") as error:
        suggest_names(reference, params)
    text, _, start = str(error.value).partition("leaves):\n")
    return text, ast.literal_eval(start)


class NNXCNN(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.convs = nnx.List(
            [
                nnx.Conv(1, 4, (3, 3), rngs=rngs),
                nnx.Conv(4, 6, (3, 3), use_bias=False, rngs=rngs),
            ]
        )
        self.norms = nnx.List([nnx.BatchNorm(4, rngs=rngs), nnx.BatchNorm(6, rngs=rngs)])
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.head = nnx.Linear(6, 2, rngs=rngs)


def nnx_trees() -> dict[str, Any]:
    module = nnx.eval_shape(lambda: NNXCNN(nnx.Rngs(0)))
    state = nnx.state(module)
    return {"module": module, "state": state, "pure": nnx.to_pure_dict(state)}
