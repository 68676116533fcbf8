"""Writing with a model of sequences: one token after the other, in one compiled program."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from fdl._types import Buffers, Model, Params


def generate(
    model: Model,
    params: Params,
    buffers: Buffers,
    prompt: Int[Array, "N P"],
    length: int,
    *,
    state: Any = None,
    key: Key[Array, ""] | None = None,
    temperature: float | Float[Array, ""] | None = None,
    top_k: int | None = None,
    end: int | None = None,
) -> Int[Array, "N length"]:
    """Continues each prompt token by token.

    Without `key` every token is the most likely one (greedy decoding). With it tokens are drawn
    from ``softmax(logits / temperature)``, of all tokens or of the `top_k` most likely.

    Everything runs in one jitted program, which is compiled once for each model, each shape of the
    prompt, and each `length`, `top_k` and `end`; `temperature` may change freely.

    Args:
        model: any model from ``(ids, state)`` to ``(logits, state)``, ids ``(N, L)`` and logits
            ``(N, L, V)``, as :func:`fdl.models.language_model`. It runs in evaluation mode.
        params: of the model.
        buffers: of the model.
        prompt: ids to continue, 1 or more a row.
        length: how many tokens to write.
        state: what the model goes on from when it reads the prompt, as an encoder left it; None for
            its own beginning.
        key: random key; None for greedy decoding.
        temperature: above 0; below 1 for likelier tokens, above for more variety. None counts as 1.
        top_k: number of tokens to choose from; None for all.
        end: token after which a row is finished: what follows it is `end`, too.

    Returns:
        The new tokens, without the prompt.

    Raises:
        ValueError: if `length`, `temperature` or `top_k` is out of range, `prompt` is no batch of
            ids, or `temperature` or `top_k` comes without `key`.

    Example:
        >>> import fdl, jax, jax.numpy as jnp
        >>> model = fdl.models.language_model(50, 8, 16, cell="gru")
        >>> params, buffers = model.init(jax.random.key(0))
        >>> prompt = jnp.array([[3, 1, 4]])
        >>> fdl.models.generate(model, params, buffers, prompt, 5).shape
        (1, 5)
        >>> options = {"key": jax.random.key(1), "temperature": 0.8, "top_k": 10}
        >>> fdl.models.generate(model, params, buffers, prompt, 5, **options).shape
        (1, 5)

    Torch: no counterpart; greedy decoding is the usual loop over ``argmax``. Of equally likely
    tokens at the border exactly `top_k` stay, where a loop that masks ``logits < kth`` keeps all.
    """
    if length < 1:
        raise ValueError(f"generate: length: expected 1 or more, got {length}.")
    if prompt.ndim != 2 or prompt.shape[1] < 1:
        raise ValueError(
            f"generate: prompt: expected ids of shape (N, P), P at least 1, got {prompt.shape}. "
            "Begin with a start token where there is nothing to continue."
        )
    if key is None and (temperature is not None or top_k is not None):
        raise ValueError(
            "generate: key: expected a jax.random.key to draw tokens with temperature or top_k, "
            "got None. Pass one, or leave both out for the most likely tokens."
        )
    temperature = 1.0 if temperature is None else temperature
    if not isinstance(temperature, jax.core.Tracer) and not temperature > 0:
        raise ValueError(
            f"generate: temperature: expected above 0, got {temperature}. Leave key and "
            "temperature out for the most likely tokens."
        )
    temperature = jnp.asarray(temperature, float)  # one type: one compilation
    tensors = (params, buffers, prompt, state, key, temperature)
    return _generated(model.apply, length, top_k, end, *tensors)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _generated(
    apply: Callable[..., Any],
    length: int,
    top_k: int | None,
    end: int | None,
    params: Params,
    buffers: Buffers,
    prompt: jax.Array,
    state: Any,
    key: jax.Array | None,
    temperature: jax.Array,
) -> jax.Array:
    def read(ids: jax.Array, state: Any, key: jax.Array | None) -> tuple[jax.Array, Any]:
        (logits, state), _ = apply(params, buffers, ids, state)
        return _chosen(logits[:, -1], key, temperature, top_k).astype(prompt.dtype), state

    def step(carry: tuple[jax.Array, Any], key: jax.Array | None) -> tuple[Any, jax.Array]:
        token, state = carry
        following, state = read(token[:, None], state, key)
        if end is not None:
            following = jnp.where(token == end, token, following)
        return (following, state), following

    keys = None if key is None else jax.random.split(key, length)
    first, rest = (None, None) if keys is None else (keys[0], keys[1:])
    token, state = read(prompt, state, first)
    _, tokens = lax.scan(step, (token, state), rest, length=length - 1)  # (length - 1, N)
    return jnp.concatenate([token[None], tokens]).T


def _chosen(
    logits: jax.Array, key: jax.Array | None, temperature: jax.Array, top_k: int | None
) -> jax.Array:
    """One token for each row of logits."""
    if key is None:
        return logits.argmax(-1)
    logits = logits / temperature.astype(logits.dtype)
    if top_k is None:
        return jax.random.categorical(key, logits)
    if not 1 <= top_k <= logits.shape[-1]:
        raise ValueError(
            f"generate: top_k: expected 1 to {logits.shape[-1]}, the number of tokens, got {top_k}."
        )
    best, tokens = lax.top_k(logits, top_k)
    drawn = jax.random.categorical(key, best)
    return jnp.take_along_axis(tokens, drawn[:, None], axis=1)[:, 0]
