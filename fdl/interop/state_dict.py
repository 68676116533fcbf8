"""Whole networks between torch and fdl: copying by name, since keys and shapes are the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from fdl._checks import check_tensors, require
from fdl._types import Buffers, Model, Params
from fdl.interop.tensors import to_jax, to_tensor

if TYPE_CHECKING:
    import torch


def from_torch(
    source: torch.nn.Module | Mapping[str, torch.Tensor], *, like: Model
) -> tuple[Params, Buffers]:
    """Copies a torch network's tensors into the parameters and buffers of an fdl model.

    Args:
        source: a ``torch.nn.Module``, or a ``state_dict``.
        like: the fdl model that the tensors are for.

    Returns:
        ``(params, buffers)``; training or changing one side leaves the other as it is.

    Raises:
        ValueError: if any key is missing, unexpected or misshapen; the error lists all of them.
        TypeError: for float64 tensors without x64.

    Example:
        >>> import fdl, torch
        >>> model = fdl.models.mlp([4, 8, 2])
        >>> twin = torch.nn.Sequential(
        ...     torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)
        ... )
        >>> params, buffers = fdl.interop.from_torch(twin, like=model)
        >>> params["0.weight"].shape
        (8, 4)
    """
    tensors = source if isinstance(source, Mapping) else source.state_dict()
    return divide("state_dict", {name: to_jax(t) for name, t in tensors.items()}, like)


def to_torch(
    params: Params, buffers: Buffers, *, like: Model | None = None
) -> dict[str, torch.Tensor]:
    """Copies parameters and buffers into a ``state_dict`` that ``strict=True`` loads.

    Args:
        params: as a model's ``init`` gives them.
        buffers: likewise.
        like: the model that they are of; needed where it ties weights, which torch's
            ``state_dict`` has under each of their names.

    Returns:
        Name to tensor. Integers are int64, torch's integer.

    Example:
        >>> import fdl, jax
        >>> model = fdl.models.mlp([4, 2])
        >>> fdl.interop.to_torch(*model.init(jax.random.key(0)))["0.weight"].shape
        torch.Size([2, 4])
    """
    torch = require("torch", extra="torch", purpose="to_torch")
    tensors = {name: to_tensor(array) for name, array in {**params, **buffers}.items()}
    tensors |= {alias: tensors[name] for alias, name in ({} if like is None else like.tied).items()}
    return {n: t.to(torch.int64) if t.dtype == torch.int32 else t for n, t in tensors.items()}


def divide(what: str, arrays: Mapping[str, jax.Array], like: Model) -> tuple[Params, Buffers]:
    """Checks named arrays against a model and divides them into its parameters and buffers.

    A tied tensor may come under any of its names, or under several.

    Raises:
        ValueError: if any key is missing, unexpected or misshapen; the error lists all of them. If
            two names of a tied tensor hold different values.
        TypeError: if an integer stands where the model has a float, or the other way round.
    """
    params, buffers = jax.eval_shape(like.init, jax.random.key(0))
    expected = {**params, **buffers}
    arrays = _untied(what, arrays, like)
    check_tensors(what, expected, arrays)
    wrong = [
        f"{name!r}: expected {expected[name].dtype}, got {array.dtype}"
        for name, array in arrays.items()
        if _is_float(array) != _is_float(expected[name])
    ]
    if wrong:
        raise TypeError(f"{what} does not fit this model: " + "; ".join(sorted(wrong)) + ".")
    return {k: arrays[k] for k in params}, {k: arrays[k] for k in buffers}


def _untied(what: str, arrays: Mapping[str, jax.Array], like: Model) -> dict[str, jax.Array]:
    """Each tied tensor under the one name that the model has for it."""
    single = {name: array for name, array in arrays.items() if name not in like.tied}
    for alias in arrays.keys() & like.tied.keys():
        name = like.tied[alias]
        known = single.setdefault(name, arrays[alias])
        if known.shape == arrays[alias].shape and not bool(jnp.array_equal(known, arrays[alias])):
            raise ValueError(
                f"{what}: {alias!r}: expected the values of {name!r}, which this model ties it to, "
                "got others. Build the model untied, or choose one of the two."
            )
    return single


def _is_float(array: Any) -> bool:
    return jnp.issubdtype(array.dtype, jnp.floating)
