"""What torchvision's classifiers share: how they are initialised, and how they save memory."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from fdl import nn
from fdl._variables import assign

Images = Float[Array, "N C H W"]
Logits = Float[Array, "N classes"]


class Blocks(nn.Sequential):
    """Layers one after another, of which the backward pass computes each again if `remat` is set.

    Torch: ``torch.nn.Sequential``, run by ``torch.utils.checkpoint.checkpoint_sequential``.
    """

    def __init__(self, *blocks: nnx.Module, remat: bool):
        super().__init__(*blocks)
        self.remat = remat

    def __call__(self, input: Images) -> Images:
        """Feeds `input` through every block in order."""
        if not self.remat:
            return super().__call__(input)
        output = input
        for block in self:
            output = nn.utils.checkpoint(block, output)
        return output


def draw_convolutions(network: nnx.Module, rngs: nnx.Rngs) -> None:
    r"""Draws all convolutions of a network from :math:`N(0, 2 / fan_{out})`, and clears biases.

    Torch: ``torch.nn.init.kaiming_normal_(mode="fan_out", nonlinearity="relu")``; as there, the fan
    is that of the whole weight whatever the groups.
    """
    for _, layer in nnx.iter_modules(network):
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.out_channels * math.prod(layer.kernel_size)
            _redraw(layer, math.sqrt(2 / fan_out), rngs)


def draw_linears(network: nnx.Module, rngs: nnx.Rngs) -> None:
    """Draws all linear layers of a network with standard deviation 0.01, and clears biases."""
    for _, layer in nnx.iter_modules(network):
        if isinstance(layer, nn.Linear):
            _redraw(layer, 0.01, rngs)


def _redraw(layer: nn.Conv2d | nn.Linear, std: float, rngs: nnx.Rngs) -> None:
    weight = layer.weight[...]
    assign(layer.weight, std * jax.random.normal(rngs.params(), weight.shape, weight.dtype))
    if layer.bias is not None:
        assign(layer.bias, jnp.zeros_like(layer.bias[...]))
