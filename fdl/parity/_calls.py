"""Every call of a torch function while a network runs: dropout gets its masks, faults are tried.

``torch.overrides.TorchFunctionMode`` sees the calls of a network and of its loss, whether they
stand in ``torch.nn`` or in somebody's ``forward``.
"""

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode

from fdl.parity._masks import Masks
from fdl.parity._record import ROOT

CONV = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
SELU_LIMIT = -1.7580993408473766
"""What SELU tends to at minus infinity, as torch rounds it."""
TRANSPOSED = (
    *("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"),
)
POOL = ("input", "kernel_size", "stride", "padding")
AVERAGE = (*POOL, "ceil_mode", "count_include_pad")
RNN = ("input", "hx", "flat_weights", "has_biases", "num_layers", "dropout", "train")
PARAMETERS: dict[str, tuple[str, ...]] = {
    "linear": ("input", "weight", "bias"),
    "conv1d": CONV,
    "conv2d": CONV,
    "conv3d": CONV,
    "conv_transpose1d": TRANSPOSED,
    "conv_transpose2d": TRANSPOSED,
    "conv_transpose3d": TRANSPOSED,
    "embedding": ("input", "weight", "padding_idx"),
    "embedding_bag": ("input", "weight", "offsets"),
    "matmul": ("input", "other"),
    "bmm": ("input", "other"),
    "mm": ("input", "other"),
    "batch_norm": (
        *("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
    ),
    "layer_norm": ("input", "normalized_shape", "weight", "bias", "eps"),
    "group_norm": ("input", "num_groups", "weight", "bias", "eps"),
    "instance_norm": (
        *("input", "running_mean", "running_var", "weight", "bias", "use_input_stats"),
        *("momentum", "eps"),
    ),
    "rms_norm": ("input", "normalized_shape", "weight", "eps"),
    "local_response_norm": ("input", "size", "alpha", "beta", "k"),
    "gelu": ("input", "approximate"),
    "softplus": ("input", "beta", "threshold"),
    "hardtanh": ("input", "min_val", "max_val"),
    "prelu": ("input", "weight"),
    "leaky_relu": ("input", "negative_slope"),
    "elu": ("input", "alpha"),
    "softmax": ("input", "dim"),
    "log_softmax": ("input", "dim"),
    "clamp": ("input", "min", "max"),
    "dropout": ("input", "p", "training"),
    "max_pool2d": POOL,
    "max_pool1d": POOL,
    "avg_pool1d": AVERAGE,
    "avg_pool2d": (*AVERAGE, "divisor_override"),
    "avg_pool3d": (*AVERAGE, "divisor_override"),
    "adaptive_avg_pool1d": ("input", "output_size"),
    "adaptive_avg_pool2d": ("input", "output_size"),
    "adaptive_avg_pool3d": ("input", "output_size"),
    "interpolate": ("input", "size", "scale_factor", "mode", "align_corners"),
    "pixel_shuffle": ("input", "upscale_factor"),
    "pixel_unshuffle": ("input", "downscale_factor"),
    "channel_shuffle": ("input", "groups"),
    "flatten": ("input", "start_dim", "end_dim"),
    "masked_fill": ("input", "mask", "value"),
    "where": ("condition", "input", "other"),
    "scaled_dot_product_attention": (
        *("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale"),
    ),
    "lstm": (*RNN, "bidirectional", "batch_first"),
    "gru": (*RNN, "bidirectional", "batch_first"),
    "rnn_tanh": (*RNN, "bidirectional", "batch_first"),
    "rnn_relu": (*RNN, "bidirectional", "batch_first"),
    "cross_entropy": ("input", "target", "weight"),
    "nll_loss": ("input", "target", "weight"),
    "mse_loss": ("input", "target"),
    "l1_loss": ("input", "target"),
    "smooth_l1_loss": ("input", "target"),
    "huber_loss": ("input", "target"),
    "kl_div": ("input", "target"),
    "binary_cross_entropy": ("input", "target", "weight"),
    "binary_cross_entropy_with_logits": ("input", "target", "weight"),
    "soft_margin_loss": ("input", "target"),
    "poisson_nll_loss": ("input", "target", "log_input", "full"),
    "gaussian_nll_loss": ("input", "target", "var", "full", "eps"),
    "multi_margin_loss": ("input", "target", "p", "margin", "weight"),
    "hinge_embedding_loss": ("input", "target", "margin"),
    "margin_ranking_loss": ("input1", "input2", "target", "margin"),
    "cosine_embedding_loss": ("input1", "input2", "target", "margin"),
    "triplet_margin_loss": ("anchor", "positive", "negative", "margin", "p", "eps", "swap"),
    "cat": ("tensors", "dim"),
    "pad": ("input", "pad", "mode", "value"),
    "normalize": ("input", "p", "dim", "eps"),
}
"""Names of positional parameters, for the calls that are looked into."""


class Site(NamedTuple):
    """Where a call stands: the how-manieth of the run, its function, and the innermost module."""

    index: int
    function: str
    module: str
    phase: str


class Call:
    """One call, to be run as it is or with changes."""

    def __init__(self, site: Site, run: Callable[..., Any], args: Sequence[Any], kwargs: dict):
        self.site = site
        self._run = run
        self._args, self._kwargs = args, kwargs
        self._names = PARAMETERS.get(site.function, ("input",))
        self._positional = len(args)
        self._extra = tuple(args[len(self._names) :])
        self.arguments = dict(zip(self._names, args, strict=False)) | kwargs

    def __getitem__(self, name: str) -> Any:
        return self.arguments.get(name)

    def other(self) -> Any:
        """The second operand of a sum or product."""
        return self._extra[0] if self._extra else self["other"]

    def run(self, **changes: Any) -> Any:
        """Calls the function, some arguments changed."""
        arguments = self.arguments | changes
        named = self._names[: self._positional]
        positional = [arguments.pop(name) for name in named]
        return self._run(*positional, *self._extra, **arguments)

    def run_with(self, other: Any) -> Any:
        """Calls a sum or product with another second operand."""
        return self._run(self["input"], other)

    def run_as(self, function: Callable[..., Any]) -> Any:
        """Calls another function with the same arguments."""
        return Call(self.site, function, self._args, self._kwargs).run()


Rewrite = Callable[[Call], Any]
"""What to do in place of a call: ``rewrite(call) -> output``; ``call.run()`` changes nothing."""


class Calls(TorchFunctionMode):
    """Runs a network with given dropout masks, and with one or more calls rewritten."""

    def __init__(self, masks: Masks, rewrites: Callable[[Site], Rewrite | None] | None = None):
        super().__init__()
        self.masks = masks
        self.sites: list[Site] = []
        self.modules: list[str] = [ROOT]
        self.phase = "forward"
        self._rewrites = rewrites or (lambda site: None)
        self.rewritten = False

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Sees one call."""
        name = getattr(func, "__name__", "")
        handler = getattr(self, f"_{name}", None) if name in HANDLED else None

        def run(*args, **kwargs):
            return handler(func, *args, **kwargs) if handler else func(*args, **kwargs)

        if name not in WATCHED:
            return run(*args, **(kwargs or {}))
        site = Site(len(self.sites), name, self.modules[-1], self.phase)
        self.sites.append(site)
        call = Call(site, run, args, dict(kwargs or {}))
        rewrite = self._rewrites(site)
        if rewrite is None:
            return call.run()
        self.rewritten = True
        return rewrite(call)

    @contextmanager
    def watching(self) -> Generator[None]:
        """The mode, with torch's one composite function opened: attention's inner calls show."""
        with self, mock.patch.object(torch.nn.functional, "has_torch_function", return_value=False):
            yield

    def _dropout(self, func, input, p=0.5, training=True, inplace=False):
        return self._dropped(input, input.shape, p, training)

    def _dropout1d(self, func, input, p=0.5, training=True, inplace=False):
        return self._dropped(input, _channels(input, min(input.dim() - 1, 2)), p, training)

    def _dropout2d(self, func, input, p=0.5, training=True, inplace=False):
        return self._dropped(input, _channels(input, 2), p, training)

    def _dropout3d(self, func, input, p=0.5, training=True, inplace=False):
        return self._dropped(input, _channels(input, 2 if input.dim() == 5 else 1), p, training)

    def _alpha_dropout(self, func, input, p=0.5, training=False, inplace=False):
        return self._saturated(input, input.shape, p, training)

    def _feature_alpha_dropout(self, func, input, p=0.5, training=False, inplace=False):
        return self._saturated(input, _channels(input, 2), p, training)

    def _dropped(self, input, shape, p, training):
        if not training or p == 0:
            return input
        if p == 1:
            return input * 0  # as torch does; a candidate draws no mask for it
        return input * torch.from_numpy(self.masks.next(tuple(shape), p)).to(input) / (1 - p)

    def _saturated(self, input, shape, p, training):
        """Alpha dropout: what is dropped becomes SELU's limit, scaled and shifted as the rest."""
        if not training or p in (0, 1):
            return input * 0 if training and p == 1 else input
        kept = torch.from_numpy(self.masks.next(tuple(shape), p)).to(input)
        scale = ((1 + p * SELU_LIMIT**2) * (1 - p)) ** -0.5
        return input * kept * scale + ((1 - kept) * SELU_LIMIT - p * SELU_LIMIT) * scale

    def _scaled_dot_product_attention(
        self,
        func,
        query,
        key,
        value,
        attn_mask=None,
        dropout_p=0.0,
        is_causal=False,
        scale=None,
        enable_gqa=False,
    ):
        if dropout_p == 0:
            options = {"is_causal": is_causal, "scale": scale, "enable_gqa": enable_gqa}
            return func(query, key, value, attn_mask, **options)
        if enable_gqa:
            shared = query.shape[-3] // key.shape[-3]
            key, value = (x.repeat_interleave(shared, -3) for x in (key, value))
        scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -math.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        alone = (scores == -math.inf).all(-1, keepdim=True)  # what may attend to nothing gets 0
        weights = scores.masked_fill(alone, 0).softmax(-1).masked_fill(alone, 0)
        return self._dropped(weights, weights.shape, dropout_p, True) @ value

    def _lstm(self, func, input, hx, weights, *options):
        biases, layers, p, train, bidirectional, first = options
        packed = torch.is_tensor(weights) or (func.__name__ == "lstm" and torch.is_tensor(hx))
        if packed or not train or p == 0 or layers == 1:
            return func(input, hx, weights, *options)
        shape = (biases, layers, p, bidirectional, first)
        return self._layer_by_layer(func, input, hx, weights, *shape)

    _gru = _rnn_tanh = _rnn_relu = _lstm

    def _layer_by_layer(self, func, input, hx, weights, biases, layers, p, bidirectional, first):
        """A stacked recurrent call, whose dropouts happen in C++, one layer at a time."""
        x = input.transpose(0, 1) if first else input  # (L, N, I)
        states = hx if isinstance(hx, tuple) else (hx,)
        directions = 2 if bidirectional else 1
        size = len(weights) // layers
        finals = []
        for layer in range(layers):
            if layer > 0:
                x = self._dropped(x, x.shape, p, True)
            slots = slice(layer * directions, (layer + 1) * directions)
            state = tuple(h[slots].contiguous() for h in states)
            own = weights[layer * size : (layer + 1) * size]
            packed = state if isinstance(hx, tuple) else state[0]
            x, *final = func(x, packed, own, biases, 1, 0.0, True, bidirectional, False)
            finals.append(final)
        x = x.transpose(0, 1) if first else x
        return x, *(torch.cat(parts) for parts in zip(*finals, strict=True))


def _channels(input: torch.Tensor, leading: int) -> tuple[int, ...]:
    """The shape of a mask with one number for each index of the leading axes."""
    return (*input.shape[:leading], *(1 for _ in input.shape[leading:]))


HANDLED = frozenset(
    {"dropout", "dropout1d", "dropout2d", "dropout3d", "scaled_dot_product_attention"}
    | {"alpha_dropout", "feature_alpha_dropout"}
    | {"lstm", "gru", "rnn_tanh", "rnn_relu"}
)
WATCHED = frozenset(PARAMETERS) | frozenset(
    {
        "relu",
        "relu_",
        "silu",
        "tanh",
        "sigmoid",
        "selu",
        "mish",
        "hardswish",
        "relu6",
        "hardsigmoid",
    }
    | {"reshape", "view", "div", "__truediv__", "mul", "__mul__", "add", "__add__", "add_"}
    | {"__iadd__", "__radd__", "__getitem__", "mean", "sum", "sqrt", "chunk", "split", "abs"}
    | {"einsum", "baddbmm", "addmm", "std", "var"}
    | {"dropout1d", "dropout2d", "dropout3d", "transpose", "permute", "sub", "__sub__", "pow"}
    | {"exp", "cumsum"}
)
"""Functions whose calls are numbered as sites."""
