"""Recurrent cells: one step of the layers in :mod:`fdl.nn.recurrent`."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

import fdl.functional as F
from fdl.nn import init
from fdl.nn._module import Dtype, Module, parameter, value_or_none


class _Cell(Module):
    """Parameters of a cell.

    Attributes:
        gates: how many blocks of H rows the weights have.
    """

    gates: ClassVar[int]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        dtype: Dtype = None,
        rngs: nnx.Rngs,
    ):
        for name, size in {"input_size": input_size, "hidden_size": hidden_size}.items():
            if size < 0:
                raise ValueError(f"{type(self).__name__}: {name}: expected a size, got {size}.")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        draw = init.uniform(init.default_bound(hidden_size))
        rows = self.gates * hidden_size
        self.weight_ih = parameter(rngs.params(), draw, (rows, input_size), dtype)
        self.weight_hh = parameter(rngs.params(), draw, (rows, hidden_size), dtype)
        self.bias_ih = parameter(rngs.params(), draw, (rows,), dtype) if bias else None
        self.bias_hh = parameter(rngs.params(), draw, (rows,), dtype) if bias else None

    def _step(self, function: Any, input: jax.Array, hx: Any) -> Any:
        biases = value_or_none(self.bias_ih), value_or_none(self.bias_hh)
        return function(input, hx, self.weight_ih[...], self.weight_hh[...], *biases)

    def _zeros(self, input: jax.Array) -> jax.Array:
        return jnp.zeros_like(input, shape=(*input.shape[:-1], self.hidden_size))


class RNNCell(_Cell):
    """One plain recurrent step; see :func:`fdl.functional.rnn_tanh_cell`.

    Attributes:
        weight_ih: ``(H, I)``.
        weight_hh: ``(H, H)``.
        bias_ih: ``(H,)``, or None.
        bias_hh: ``(H,)``, or None.

    Raises:
        ValueError: if a size is negative or `nonlinearity` is neither ``"tanh"`` nor ``"relu"``.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> from flax import nnx
        >>> cell = fdl.nn.RNNCell(3, 5, rngs=nnx.Rngs(0))
        >>> h = cell(jnp.ones((8, 3)))
        >>> cell(jnp.ones((8, 3)), h).shape
        (8, 5)

    Torch: ``torch.nn.RNNCell``; `rngs` instead of a global generator, and a wrong `nonlinearity` is
    found when made, not when called.
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        *,
        dtype: Dtype = None,
        rngs: nnx.Rngs,
    ):
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"RNNCell: nonlinearity: expected 'tanh' or 'relu', got {nonlinearity!r}."
            )
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, bias, dtype=dtype, rngs=rngs)

    def __call__(
        self, input: Float[Array, "*N I"], hx: Float[Array, "*N H"] | None = None
    ) -> Float[Array, "*N H"]:
        """Maps ``(N, I)`` or ``(I,)`` and the hidden state, zeros if None, to the next one."""
        function = F.rnn_tanh_cell if self.nonlinearity == "tanh" else F.rnn_relu_cell
        return self._step(function, input, self._zeros(input) if hx is None else hx)


class GRUCell(_Cell):
    """One step of a gated recurrent unit; see :func:`fdl.functional.gru_cell`.

    Parameters as :class:`RNNCell`, with ``3H`` rows: the gates r, z, n.

    Torch: ``torch.nn.GRUCell``; `rngs` instead of a global generator.
    """

    gates = 3

    def __call__(
        self, input: Float[Array, "*N I"], hx: Float[Array, "*N H"] | None = None
    ) -> Float[Array, "*N H"]:
        """Maps ``(N, I)`` or ``(I,)`` and the hidden state, zeros if None, to the next one."""
        return self._step(F.gru_cell, input, self._zeros(input) if hx is None else hx)


class LSTMCell(_Cell):
    """One step of a long short-term memory; see :func:`fdl.functional.lstm_cell`.

    Parameters as :class:`RNNCell`, with ``4H`` rows: the gates i, f, g, o.

    Torch: ``torch.nn.LSTMCell``; `rngs` instead of a global generator.
    """

    gates = 4

    def __call__(
        self,
        input: Float[Array, "*N I"],
        hx: tuple[Float[Array, "*N H"], Float[Array, "*N H"]] | None = None,
    ) -> tuple[Float[Array, "*N H"], Float[Array, "*N H"]]:
        """Maps ``(N, I)`` or ``(I,)`` and ``(h, c)``, zeros if None, to the next ``(h, c)``."""
        zeros = self._zeros(input)
        return self._step(F.lstm_cell, input, (zeros, zeros) if hx is None else hx)
