"""Layers put into a ``Sequential``, or taken out of it."""

import re
from collections.abc import Collection, Iterator

import jax
import jax.numpy as jnp

from fdl._types import Buffers, Model, Params
from fdl.models.surgery.carry import Carried, Inside, carry_over, check_inside
from fdl.models.surgery.freeze import names_of


def insert_layer(
    params: Params,
    buffers: Buffers,
    *,
    like: Model,
    at: str,
    key: jax.Array,
    identity: bool = True,
) -> Carried:
    """Puts layers into a ``Sequential``; those after it move up, and the function stays as it was.

    Args:
        params: of the model as it was.
        buffers: likewise.
        like: the model with the new layers.
        at: name that the first new layer has there: ``"2"``, ``"classifier.3"``.
        key: what the new layers are drawn from.
        identity: whether new linear layers and convolutions start as the identity. Then outputs
            stay equal if the activations among the new layers leave what comes as it is: after a
            ReLU, another ReLU does, tanh and GELU do not. A convolution has to keep the size of the
            picture. False keeps what was drawn.

    Returns:
        The tensors for `like`; `fresh` lists those of the new layers.

    Raises:
        ValueError: if `like` is not the model with layers inserted there, or a new layer cannot be
            the identity.

    Example:
        >>> import fdl, jax, jax.numpy as jnp
        >>> from fdl.models import surgery
        >>> old, new = fdl.models.mlp([4, 8, 3]), fdl.models.mlp([4, 8, 8, 3])
        >>> params, buffers = old.init(jax.random.key(0))
        >>> deeper = surgery.insert_layer(
        ...     params, buffers, like=new, at="2", key=jax.random.key(1)
        ... )
        >>> deeper.fresh, deeper.source["4.weight"]
        (('2.bias', '2.weight'), '2.weight')
        >>> x = jnp.ones((1, 4))
        >>> before, after = old.apply(params, {}, x)[0], new.apply(deeper.params, {}, x)[0]
        >>> bool(jnp.allclose(before, after))
        True

    Torch: ``sequential.insert(2, layer)`` and ``nn.init.eye_`` or ``dirac_``.

    Source: Chen et al., "Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016.
    """
    old, new = [*params, *buffers], names_of(like)
    by = _length(new, at) - _length(old, at)
    _check_shift("insert_layer", "more", at, by)
    carried = carry_over(params, buffers, like=like, key=key, renamed=renumber(old, at=at, by=by))
    span = _span(at, by)
    check_inside("insert_layer", carried, span, f"the {by} positions from {at}")
    if not identity:
        return carried
    new_params = carried.params | dict(_identities(carried))
    return carried._replace(params=new_params)


def remove_layer(params: Params, buffers: Buffers, *, like: Model, at: str) -> Carried:
    """Takes layers out of a ``Sequential``; those after it move down.

    Args:
        params: of the model as it was.
        buffers: likewise.
        like: the model without the layers.
        at: name that the first of them has in the model as it was.

    Returns:
        The tensors for `like`; `dropped` lists those of the removed layers. The function stays as
        it was if these were the identity.

    Raises:
        ValueError: if `like` is not the model without layers from there on.

    Example:
        >>> import fdl, jax
        >>> old, new = fdl.models.mlp([4, 8, 8, 3]), fdl.models.mlp([4, 8, 3])
        >>> carried = fdl.models.surgery.remove_layer(
        ...     *old.init(jax.random.key(0)), like=new, at="2"
        ... )
        >>> carried.dropped, carried.source["2.weight"]
        (('2.bias', '2.weight'), '4.weight')

    Torch: ``del sequential[2:4]``.
    """
    old, new = [*params, *buffers], names_of(like)
    by = _length(old, at) - _length(new, at)
    _check_shift("remove_layer", "fewer", at, by)
    renamed = renumber(old, at=at, by=-by)
    carried = carry_over(params, buffers, like=like, key=jax.random.key(0), renamed=renamed)
    check_inside("remove_layer", carried, _span(at, by), f"the {by} positions from {at}")
    if carried.fresh:
        raise ValueError(
            f"remove_layer: like: expected a model that the rest fits, got one with "
            f"{', '.join(carried.fresh)} of another shape or name. Check its sizes."
        )
    return carried


def renumber(names: Collection[str], *, at: str, by: int) -> dict[str, str | None]:
    """Names after layers were put into a ``Sequential``, or taken out of it.

    Args:
        names: of tensors.
        at: name of the first layer that moves, or that is taken out.
        by: how many positions it moves up; if negative, how many layers are taken out.

    Returns:
        Old name to new one, or to None for a layer that is taken out; only what changes. It is what
        :func:`carry_over` takes as `renamed`.

    Raises:
        ValueError: if `at` does not end in a number.

    Example:
        >>> from fdl.models.surgery import renumber
        >>> renumber(["net.0.weight", "net.2.weight", "head.2.weight"], at="net.1", by=2)
        {'net.2.weight': 'net.4.weight'}
        >>> renumber(["0.weight", "2.weight", "4.weight"], at="2", by=-2)
        {'2.weight': None, '4.weight': '2.weight'}
    """
    prefix, first = _place(at)
    changed: dict[str, str | None] = {}
    for name in names:
        if (number := _number(name, prefix)) is not None and number >= first:
            rest = name.removeprefix(f"{prefix}{number}")
            gone = number < first - by
            changed[name] = None if gone else f"{prefix}{number + by}{rest}"
    return changed


def _place(at: str) -> tuple[str, int]:
    prefix, dot, number = at.rpartition(".")
    if not number.isdecimal():
        raise ValueError(
            f"at: expected the name of a layer in a Sequential, as '2' or 'classifier.3', got "
            f"{at!r}."
        )
    return f"{prefix}{dot}", int(number)


def _number(name: str, prefix: str) -> int | None:
    """The position of a tensor's layer in the ``Sequential`` of that prefix."""
    found = re.match(rf"{re.escape(prefix)}(\d+)\.", name)
    return int(found[1]) if found else None


def _length(names: Collection[str], at: str) -> int:
    """One more than the last position with tensors."""
    prefix, _ = _place(at)
    numbers = [number for name in names if (number := _number(name, prefix)) is not None]
    return 1 + max(numbers, default=-1)


def _span(at: str, by: int) -> Inside:
    prefix, first = _place(at)

    def inside(name: str) -> bool:
        number = _number(name, prefix)
        return number is not None and first <= number < first + by

    return inside


def _identities(carried: Carried) -> Iterator[tuple[str, jax.Array]]:
    """Linear layers and convolutions among what is fresh, as the identity."""
    for name in carried.fresh:
        tensor = carried.params.get(name)
        module, _, leaf = name.rpartition(".")
        weight = carried.params.get(f"{module}.weight")
        if tensor is None or weight is None or weight.ndim < 2 or leaf not in ("weight", "bias"):
            raise ValueError(
                f"insert_layer: identity: expected linear layers and convolutions alone to have "
                f"tensors, got {name!r}, which cannot be the identity. Pass identity=False."
            )
        if weight.shape[0] != weight.shape[1]:
            raise ValueError(
                f"insert_layer: identity: expected as many outputs as inputs, got {module!r} with "
                f"weight {weight.shape}. Choose equal sizes, or pass identity=False."
            )
        if leaf == "bias":
            yield name, jnp.zeros_like(tensor)
        else:
            diagonal = jnp.arange(weight.shape[0])
            centre = tuple(size // 2 for size in weight.shape[2:])
            yield name, jnp.zeros_like(weight).at[(diagonal, diagonal, *centre)].set(1)


def _check_shift(caller: str, more: str, at: str, by: int) -> None:
    if by < 1:
        raise ValueError(
            f"{caller}: like: expected a model with {more} layers where {at!r} is, got one of the "
            "same length or the other way round. Did you exchange the old and the new model?"
        )
