"""Recurrent layers."""

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

import fdl.functional as F
from fdl._checks import check_ndim
from fdl.nn import init
from fdl.nn._module import Dtype, Module, draw_key, forked_stream, parameter

State = tuple[Float[Array, "S *N R"], Float[Array, "S *N H"]]


class _Recurrent(Module):
    """What RNN, GRU and LSTM share: torch's arguments, parameters, and layouts of input and state.

    Attributes:
        gates: how many blocks of H rows the weights have.
        bundle: the weights of one direction of one layer.
    """

    gates: ClassVar[int]
    bundle: ClassVar[Any] = F.RNNWeights

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
        self._check_flags(bias=bias, batch_first=batch_first)
        self._check_sizes(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        if not 0 <= proj_size < hidden_size:
            raise ValueError(
                f"{self._name}: proj_size: expected 0 (none) to hidden_size - 1 = "
                f"{hidden_size - 1}, got {proj_size}."
            )
        if isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ValueError(f"{self._name}: dropout: expected a probability, got {dropout}.")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self.suffixes = ("", "_reverse") if bidirectional else ("",)
        self.stream = forked_stream(rngs, dropout if num_layers > 1 else 0)
        draw = init.uniform(1 / math.sqrt(hidden_size))
        for layer in range(num_layers):
            for suffix in self.suffixes:
                for name, shape in self._shapes(layer).items():
                    drawn = parameter(rngs.params(), draw, shape, dtype)
                    setattr(self, f"{name}_l{layer}{suffix}", drawn)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _check_flags(self, **flags: Any) -> None:
        for name, flag in flags.items():
            if not isinstance(flag, bool):
                raise TypeError(
                    f"{self._name}: {name}: expected a bool, got {flag!r}. Name the argument if "
                    "another was meant."
                )

    def _check_sizes(self, **sizes: Any) -> None:
        for name, size in sizes.items():
            if not isinstance(size, int):
                raise TypeError(f"{self._name}: {name}: expected an int, got {size!r}.")
            if size < 1:
                raise ValueError(f"{self._name}: {name}: expected at least 1, got {size}.")

    def _shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        """Torch's shapes of one direction of a layer."""
        rows = self.gates * self.hidden_size
        output = self.proj_size or self.hidden_size
        inputs = self.input_size if layer == 0 else output * len(self.suffixes)
        return {
            "weight_ih": (rows, inputs),
            "weight_hh": (rows, output),
            **({"bias_ih": (rows,), "bias_hh": (rows,)} if self.bias else {}),
            **({"weight_hr": (output, self.hidden_size)} if self.proj_size else {}),
        }

    def _weights(self, layer: int, suffix: str) -> Any:
        def tensor(name: str) -> Any:
            variable = getattr(self, f"{name}_l{layer}{suffix}", None)
            return None if variable is None else variable[...]

        return self.bundle(*map(tensor, self.bundle._fields))

    def _run(self, function: Any, input: jax.Array, hx: Any, lengths: Any, *options: Any) -> Any:
        """Calls the function in its one layout, time first and batched."""
        allowed = {2: "(L, I)", 3: "(N, L, I)" if self.batch_first else "(L, N, I)"}
        check_ndim(self._name, "input", input, expected=allowed)
        for state in jax.tree.leaves(hx):
            meant = f"(layers * directions, {'N, ' if input.ndim == 3 else ''}size)"
            check_ndim(self._name, "hx", state, expected={input.ndim: meant})
        batch_axis = None if input.ndim == 2 else 0 if self.batch_first else 1
        if batch_axis is None and lengths is not None:
            raise ValueError(
                f"{self._name}: lengths: expected None for one sequence, got {lengths}. Slice the "
                "input instead, or add a batch axis."
            )
        output, state = function(
            input[:, None] if batch_axis is None else jnp.moveaxis(input, batch_axis, 1),
            hx if batch_axis is not None else jax.tree.map(lambda h: h[:, None], hx),
            [[self._weights(k, s) for s in self.suffixes] for k in range(self.num_layers)],
            *options,
            self.dropout,
            self.training,
            lengths=lengths,
            key=draw_key(self.stream, self.training),
        )
        if batch_axis is None:
            return output[:, 0], jax.tree.map(lambda h: h[:, 0], state)
        return jnp.moveaxis(output, 1, batch_axis), state


class RNN(_Recurrent):
    """A stack of plain recurrent layers; see :func:`fdl.functional.rnn`.

    Parameters are torch's, for layer k: ``weight_ih_lk`` ``(H, I)``, ``weight_hh_lk`` ``(H, H)``,
    ``bias_ih_lk`` and ``bias_hh_lk`` ``(H,)``; the backward direction's end in ``_reverse``.

    Raises:
        ValueError: if a size, probability or `nonlinearity` is out of range.
        TypeError: if a size is no int, or `bias` or `batch_first` no bool.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = fdl.nn.RNN(3, 5, nonlinearity="relu", bidirectional=True, rngs=nnx.Rngs(0))
        >>> output, h_n = layer(jnp.ones((7, 8, 3)))
        >>> output.shape, h_n.shape
        ((7, 8, 10), (2, 8, 5))

    Torch: ``torch.nn.RNN``; `lengths` instead of packed sequences, `rngs` instead of a global
    generator, and no warning about dropout with one layer.
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        dtype: Dtype = None,
        rngs: nnx.Rngs,
    ):
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: nonlinearity: expected 'tanh' or 'relu', got {nonlinearity!r}.")
        self.nonlinearity = nonlinearity
        sizes = (input_size, hidden_size, num_layers)
        options = (bias, batch_first, dropout, bidirectional)
        super().__init__(*sizes, *options, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        input: Float[Array, "..."],
        hx: Float[Array, "S *N H"] | None = None,
        *,
        lengths: Int[Array, " N"] | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, "S *N H"]]:
        """Runs over a sequence.

        Args:
            input: ``(L, N, I)``, with `batch_first` ``(N, L, I)``, or one sequence ``(L, I)``.
            hx: initial ``(layers * directions, N, H)``, without ``N`` for one sequence; zeros if
                None.
            lengths: steps of each sequence where they differ; see :func:`fdl.functional.lstm`.

        Returns:
            ``(output, h_n)``; `output` is laid out as `input`, zero beyond `lengths`.
        """
        return self._run(F.rnn, input, hx, lengths, self.nonlinearity)


class GRU(_Recurrent):
    """A stack of gated recurrent units; see :func:`fdl.functional.gru`.

    Parameters and the rest as :class:`RNN`, with ``3H`` rows: the gates r, z, n.

    Torch: ``torch.nn.GRU``; deviations as :class:`RNN`.
    """

    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        dtype: Dtype = None,
        rngs: nnx.Rngs,
    ):
        sizes = (input_size, hidden_size, num_layers)
        options = (bias, batch_first, dropout, bidirectional)
        super().__init__(*sizes, *options, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        input: Float[Array, "..."],
        hx: Float[Array, "S *N H"] | None = None,
        *,
        lengths: Int[Array, " N"] | None = None,
    ) -> tuple[Float[Array, "..."], Float[Array, "S *N H"]]:
        """Runs over a sequence; arguments and returns as :meth:`RNN.__call__`."""
        return self._run(F.gru, input, hx, lengths)


class LSTM(_Recurrent):
    """A stack of long short-term memory layers; see :func:`fdl.functional.lstm`.

    Parameters are torch's, for layer k: ``weight_ih_lk`` ``(4H, I)``, ``weight_hh_lk`` ``(4H, R)``,
    ``bias_ih_lk`` and ``bias_hh_lk`` ``(4H,)``, with `proj_size` ``weight_hr_lk`` ``(R, H)``; the
    backward direction's end in ``_reverse``. R is `proj_size`, or the hidden size H without it.

    Raises:
        ValueError: if a size or probability is out of range.
        TypeError: if a size is no int, or `bias` or `batch_first` no bool.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = fdl.nn.LSTM(3, 5, num_layers=2, batch_first=True, rngs=nnx.Rngs(0))
        >>> output, (h_n, c_n) = layer(jnp.ones((8, 7, 3)))
        >>> output.shape, h_n.shape
        ((8, 7, 5), (2, 8, 5))

    Torch: ``torch.nn.LSTM``; deviations as :class:`RNN`.
    """

    gates = 4
    bundle = F.LSTMWeights

    def __call__(
        self,
        input: Float[Array, "..."],
        hx: State | None = None,
        *,
        lengths: Int[Array, " N"] | None = None,
    ) -> tuple[Float[Array, "..."], State]:
        """Runs over a sequence.

        Args:
            input: ``(L, N, I)``, with `batch_first` ``(N, L, I)``, or one sequence ``(L, I)``.
            hx: initial ``(h_0, c_0)``, ``(layers * directions, N, R)`` and ``(..., N, H)``, without
                ``N`` for one sequence; zeros if None.
            lengths: steps of each sequence where they differ; see :func:`fdl.functional.lstm`.

        Returns:
            ``(output, (h_n, c_n))``; `output` is laid out as `input`, zero beyond `lengths`.
        """
        return self._run(F.lstm, input, hx, lengths)
