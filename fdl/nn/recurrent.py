"""Recurrent layers."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

import fdl.functional as F
from fdl._checks import check_ndim
from fdl.nn import init
from fdl.nn._module import Dtype, Module, draw_key, forked_stream, parameter

State = tuple[Float[Array, "S *N R"], Float[Array, "S *N H"]]


class LSTM(Module):
    """A stack of long short-term memory layers; see :func:`fdl.functional.lstm`.

    Parameters are torch's, for layer k: ``weight_ih_lk`` ``(4H, I)``, ``weight_hh_lk`` ``(4H, R)``,
    ``bias_ih_lk`` and ``bias_hh_lk`` ``(4H,)``, with `proj_size` ``weight_hr_lk`` ``(R, H)``; the
    backward direction's end in ``_reverse``. R is `proj_size`, or the hidden size H without it.

    Raises:
        ValueError: if a size or probability is out of range.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = fdl.nn.LSTM(3, 5, num_layers=2, batch_first=True, rngs=nnx.Rngs(0))
        >>> output, (h_n, c_n) = layer(jnp.ones((8, 7, 3)))
        >>> output.shape, h_n.shape
        ((8, 7, 5), (2, 8, 5))

    Torch: ``torch.nn.LSTM``; no packed sequences, `rngs` instead of a global generator.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        dtype: Dtype = None,
        rngs: nnx.Rngs,
    ):
        if num_layers < 1 or hidden_size < 1:
            raise ValueError(
                "LSTM: num_layers, hidden_size: expected at least 1, got "
                f"{num_layers}, {hidden_size}."
            )
        if not 0 <= proj_size < hidden_size:
            raise ValueError(
                f"LSTM: proj_size: expected 0 (none) to hidden_size - 1 = {hidden_size - 1}, "
                f"got {proj_size}."
            )
        if not 0 <= dropout <= 1:
            raise ValueError(f"LSTM: dropout: expected a probability, got {dropout}.")
        self.batch_first = batch_first
        self.dropout = dropout
        self.num_layers = num_layers
        self.suffixes = ("", "_reverse") if bidirectional else ("",)
        self.stream = forked_stream(rngs, dropout if num_layers > 1 else 0)
        draw = init.uniform(1 / math.sqrt(hidden_size))
        recurrent = proj_size or hidden_size
        for layer in range(num_layers):
            inputs = input_size if layer == 0 else recurrent * len(self.suffixes)
            shapes = {
                "weight_ih": (4 * hidden_size, inputs),
                "weight_hh": (4 * hidden_size, recurrent),
                **({"bias_ih": (4 * hidden_size,), "bias_hh": (4 * hidden_size,)} if bias else {}),
                **({"weight_hr": (proj_size, hidden_size)} if proj_size else {}),
            }
            for suffix in self.suffixes:
                for name, shape in shapes.items():
                    drawn = parameter(rngs.params(), draw, shape, dtype)
                    setattr(self, f"{name}_l{layer}{suffix}", drawn)

    def __call__(
        self, input: Float[Array, "..."], hx: State | None = None
    ) -> tuple[Float[Array, "..."], State]:
        """Runs over a sequence.

        Args:
            input: ``(L, N, I)``, with `batch_first` ``(N, L, I)``, or one sequence ``(L, I)``.
            hx: initial ``(h_0, c_0)``, ``(layers * directions, N, R)`` and ``(..., N, H)``, without
                ``N`` for one sequence; zeros if None.

        Returns:
            ``(output, (h_n, c_n))``; `output` is laid out as `input`.
        """
        allowed = {2: "(L, I)", 3: "(N, L, I)" if self.batch_first else "(L, N, I)"}
        check_ndim("LSTM", "input", input, expected=allowed)
        batch_axis = None if input.ndim == 2 else 0 if self.batch_first else 1
        output, state = F.lstm(
            _time_first(input, batch_axis),
            hx if batch_axis is not None else jax.tree.map(lambda h: h[:, None], hx),
            [[self._weights(k, s) for s in self.suffixes] for k in range(self.num_layers)],
            self.dropout,
            self.training,
            key=draw_key(self.stream, self.training),
        )
        if batch_axis is None:
            return output[:, 0], jax.tree.map(lambda h: h[:, 0], state)
        return jnp.moveaxis(output, 1, batch_axis), state

    def _weights(self, layer: int, suffix: str) -> F.LSTMWeights:
        def tensor(name: str) -> Any:
            variable = getattr(self, f"{name}_l{layer}{suffix}", None)
            return None if variable is None else variable[...]

        return F.LSTMWeights(*map(tensor, F.LSTMWeights._fields))


def _time_first(input: jax.Array, batch_axis: int | None) -> jax.Array:
    return input[:, None] if batch_axis is None else jnp.moveaxis(input, batch_axis, 1)
