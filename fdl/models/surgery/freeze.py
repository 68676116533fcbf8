"""Parts of a model that stay as they are."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax
from flax import nnx

from fdl._model import evaluating
from fdl._types import Buffers, Model, Params


def freeze(model: Model, patterns: Sequence[str]) -> Model:
    """A model whose matching parts evaluate, also in training, and get no gradient.

    Their batch norms use and keep the running statistics, and their dropout is off.

    Args:
        model: any.
        patterns: as in a shell, of whole tensor names: ``"layer1.*"``. A module is frozen if all
            tensors of its own are, or, for one without any such as dropout, if its name matches.

    Returns:
        The same model but for that: same tensors, same names.

    Raises:
        ValueError: if a pattern matches nothing.

    Example:
        Gradients are zero; so that the optimizer neither decays frozen parameters nor keeps a state
        of them, give it the same patterns:

        >>> import fdl, jax
        >>> patterns = ["features.*"]
        >>> model = fdl.models.surgery.freeze(fdl.models.cnn(), patterns)
        >>> optimizer = fdl.optim.param_groups(
        ...     fdl.optim.adamw, {pattern: dict(frozen=True) for pattern in patterns}, lr=1e-3
        ... )

    Torch: ``requires_grad_(False)`` on the parameters, and ``eval()`` on the modules after each
    ``train()``. Without the latter torch's batch norms move on; here, that is ``param_groups`` with
    ``frozen`` alone.
    """
    names = names_of(model)
    idle = [p for p in patterns if not any(fnmatchcase(name, p) for name in names)]
    if idle:
        raise ValueError(
            f"freeze: patterns: expected those that match whole names of tensors, got {idle}, "
            f"which match none of {names}."
        )

    def is_frozen(name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    def evaluates(name: str, _module: nnx.Module) -> bool:
        own = [tensor for tensor in names if tensor.rpartition(".")[0] == name]
        return all(map(is_frozen, own)) if own else is_frozen(name)

    def frozen(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(params: Params, buffers: Buffers, *inputs: Any, **named: Any) -> Any:
            held = {
                name: jax.lax.stop_gradient(param) if is_frozen(name) else param
                for name, param in params.items()
            }
            with evaluating(evaluates):
                return function(held, buffers, *inputs, **named)

        return call

    return model._replace(apply=frozen(model.apply), trace=frozen(model.trace))


def names_of(model: Model) -> list[str]:
    """The names of all tensors."""
    params, buffers = jax.eval_shape(model.init, jax.random.key(0))
    return [*params, *buffers]
