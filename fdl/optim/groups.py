"""Parameter groups: options by patterns of the parameters' names."""

import inspect
from collections.abc import Callable, Hashable, Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, NamedTuple

import jax
import optax

from fdl.optim.lbfgs import lbfgs

Factory = Callable[..., optax.GradientTransformation]

OWN = ("optimizer", "frozen")
"""Options of a group that are not the optimizer's."""


class _Group(NamedTuple):
    """What the patterns that match a parameter come to."""

    patterns: tuple[str, ...]
    optimizer: Factory
    options: Mapping[str, Any]
    frozen: bool

    @property
    def label(self) -> str:
        return " + ".join(self.patterns) or "*"

    @property
    def key(self) -> Hashable:
        """Equal for groups that treat their parameters alike."""
        if self.frozen:
            return "frozen"
        options = ((name, _hashable(value)) for name, value in self.options.items())
        return self.optimizer, frozenset(options)

    def transform(self) -> optax.GradientTransformation:
        if self.frozen:
            return optax.set_to_zero()
        try:
            return made(self.optimizer, self.options)
        except (TypeError, ValueError) as error:
            error.add_note(f"This is of the parameter group {self.label!r}.")
            raise


def param_groups(
    optimizer: Factory, groups: Mapping[str, Mapping[str, Any]], **options: Any
) -> optax.GradientTransformationExtraArgs:
    """An optimizer whose options depend on the parameter's name.

    A parameter takes the options of every pattern that matches its name, a later pattern's before
    an earlier one's, and `options` for the rest. So patterns name one property each, and go
    together: below, a bias of the backbone has neither the decay nor the large rate.

    Args:
        optimizer: makes the transform, ``fdl.optim.adamw`` or any other factory but ``lbfgs``.
        groups: pattern to options. A pattern is as in a shell (``*``, ``?``, ``[abc]``) and matches
            the whole name. Options are those of `optimizer`, ``lr`` possibly a schedule of its own,
            and two more. ``frozen=True``: the parameter stays and has no state; a later
            ``frozen=False`` takes it back. ``optimizer=``: another factory; since options of one
            optimizer mean nothing to another, all that came before, `options` included, is dropped,
            but for ``frozen``.
        **options: what the optimizer is made with where no pattern says otherwise.

    Returns:
        An ``optax.GradientTransformationExtraArgs``: ``optax.partition`` of the parameters that
        have equal options. In its state, ``inner_states`` has a group under the patterns that made
        it, joined by ``" + "``, and what matches no pattern under ``"*"``. Extra arguments that are
        trees like the parameters are divided as these are. Its `init` raises ValueError, naming
        them, for patterns that match nothing.

    Raises:
        TypeError: for an option that the optimizer does not have.
        ValueError: for ``lbfgs``.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> optimizer = fdl.optim.param_groups(
        ...     fdl.optim.adamw,
        ...     {
        ...         "*.bias": dict(weight_decay=0.0),
        ...         "backbone.*": dict(lr=1e-5),
        ...         "stem.*": dict(frozen=True),
        ...     },
        ...     lr=1e-3,
        ... )
        >>> names = ("stem.weight", "backbone.weight", "backbone.bias", "head.weight")
        >>> params = {name: jnp.ones(2) for name in names}
        >>> state = optimizer.init(params)
        >>> sorted(state.inner_states)
        ['*', '*.bias + backbone.*', 'backbone.*', 'stem.*']
        >>> updates, state = optimizer.update(params, state, params)
        >>> [round(float(updates[name][0]), 7) for name in names]
        [0.0, -1.01e-05, -1e-05, -0.00101]

        Muon for matrices, AdamW for the rest (``torch.optim`` would have two optimizers):

        >>> optimizer = fdl.optim.param_groups(
        ...     fdl.optim.muon, {"*.bias": dict(optimizer=fdl.optim.adamw, lr=3e-4)}, lr=0.02
        ... )

    Torch: the ``param_groups`` of ``torch.optim.Optimizer``, and ``requires_grad_(False)`` for
    ``frozen``. Torch takes any key of a group without a word; here it must be an option. What looks
    at all parameters together, as clipping by norm, belongs before this in a chain.
    """
    known = (optimizer, *(group["optimizer"] for group in groups.values() if "optimizer" in group))
    for factory in known:
        check_not_lbfgs("param_groups", factory, "as torch's, it has one group only")
    _check_options("options", options, [optimizer])
    for pattern, group in groups.items():
        chosen = [group["optimizer"]] if "optimizer" in group else known
        named = {name: value for name, value in group.items() if name not in OWN}
        _check_options(f"groups[{pattern!r}]", named, chosen)

    def partition(params):
        names = list(_names(params))
        _check_matches(groups, names)
        return _partition({name: _grouped(name, optimizer, groups, options) for name in names})

    def init(params):
        return partition(params).init(params)

    def update(updates, state, params=None, **extra):
        return partition(updates).update(updates, state, params, **extra)

    return optax.GradientTransformationExtraArgs(init, update)


def made(optimizer: Factory, options: Mapping[str, Any]) -> optax.GradientTransformation:
    """What a factory makes; under jit too, options that are arrays have values to check."""
    with jax.ensure_compile_time_eval():
        return optimizer(**options)


def check_not_lbfgs(function: str, factory: Factory, reason: str) -> None:
    """Raises ValueError for L-BFGS, also wrapped: all parameters are one vector to it."""
    inner = factory.func if isinstance(factory, partial) else factory
    if inspect.unwrap(inner) is lbfgs:
        raise ValueError(
            f"{function}: optimizer: expected one that treats each parameter on its own, got "
            f"lbfgs: {reason}. Use lbfgs itself, or another optimizer."
        )


def _grouped(
    name: str, optimizer: Factory, groups: Mapping[str, Mapping[str, Any]], options: Mapping
) -> _Group:
    matching = tuple(pattern for pattern in groups if fnmatchcase(name, pattern))
    frozen = False
    for group in map(groups.__getitem__, matching):
        frozen = group.get("frozen", frozen)
        if "optimizer" in group:
            optimizer, options = group["optimizer"], {}
        options = {**options, **{key: group[key] for key in group if key not in OWN}}
    return _Group(matching, optimizer, options, frozen)


def _partition(found: Mapping[str, _Group]) -> optax.GradientTransformationExtraArgs:
    """One transform for each set of equal options, labelled by its first parameter's patterns."""
    groups: dict[Hashable, _Group] = {}
    for group in found.values():
        groups.setdefault(group.key, group)

    def labels(tree):
        return jax.tree_util.tree_map_with_path(
            lambda path, _: groups[found[_name(path)].key].label, tree, is_leaf=_is_none
        )

    transforms: dict[Hashable, optax.GradientTransformation] = {
        group.label: group.transform() for group in groups.values()
    }
    return optax.partition(transforms, labels, mask_compatible_extra_args=True)


def _names(tree: Any) -> Iterator[str]:
    for path, _ in jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_none):
        yield _name(path)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _is_none(value: Any) -> bool:
    return value is None


def _hashable(value: Any) -> Hashable:
    try:
        hash(value)
    except TypeError:
        return id(value)
    return value


def _check_matches(groups: Mapping[str, Any], names: list[str]) -> None:
    idle = [p for p in groups if not any(fnmatchcase(name, p) for name in names)]
    if idle:
        raise ValueError(
            "param_groups: groups: expected patterns that match a parameter, got "
            + ", ".join(f"{pattern!r}{_near(pattern, names, cutoff=0.3)}" for pattern in idle)
            + ". A pattern must match the whole name."
        )


def _check_options(argument: str, given: Mapping[str, Any], factories) -> None:
    """Checks that some of the factories takes each of the options."""
    parameters = [inspect.signature(factory).parameters for factory in factories]
    if any(p.kind is p.VAR_KEYWORD for taken in parameters for p in taken.values()):
        return
    names = [name for taken in parameters for name in taken]
    wrong = [name for name in given if name not in names]
    if wrong:
        makers = " or ".join(getattr(factory, "__name__", str(factory)) for factory in factories)
        raise TypeError(
            f"param_groups: {argument}: expected options of {makers} ({', '.join(names)}), got "
            + ", ".join(f"{name!r}{_near(name, names)}" for name in wrong)
            + "."
        )


def _near(text: str, known: list[str], cutoff: float = 0.6) -> str:
    close = get_close_matches(text, known, cutoff=cutoff)
    return f" (near it: {', '.join(map(repr, close))})" if close else " (nothing is near it)"
