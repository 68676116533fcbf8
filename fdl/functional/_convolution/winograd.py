r"""Convolution of 3x3 filters by Winograd's F(2x2, 3x3): 16 products for 36.

Four by four pixels :math:`d`, of which two by two outputs come:
:math:`y = A^T [(G w G^T) \odot (B^T d B)] A`.

Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from fdl.functional import _product
from fdl.functional._convolution.channels_last import channels_first, channels_last, rows, total
from fdl.functional._convolution.geometry import Geometry

PIXELS = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
"""The B^T of F(2, 3)."""
FILTER = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
"""The G of F(2, 3)."""
OUTPUT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])
"""The A^T of F(2, 3)."""
ROUNDING = 2
"""Up to how many units in the last place of its terms a sum of products is taken for zero.

Many weights of sparse images have no gradient at all: of three layers of AlexNet's 16 to 26 %. Of
these Winograd's rounding leaves 13 to 20 % something, by which Adam moves them; beyond 2 units it
is 0.04 to 0.05 %, and one in 1.7 million is lost that had a gradient. Of ten AlexNets, with weights
a unit in the last place apart, the third loss is 1.8e-4 off in two without this, in none with 1 to
4, and in all with 8, as small gradients that Adam does tell from zero are lost.
"""

Grid = list[list[jax.Array]]


def correlate(input: jax.Array, weight: jax.Array, *, geometry: Geometry) -> jax.Array:
    """Correlates inputs with 3x3 filters."""
    windows = geometry.windows(input.shape[2:], (3, 3))
    pixels = _transformed(PIXELS, _tiles(input, windows, geometry.padding))
    filters = _transformed(FILTER, _corners(weight))
    return _assembled(_paired(_product.project, pixels, filters), len(input), windows)


def pull_input(
    output: jax.Array, weight: jax.Array, *, geometry: Geometry, size: Sequence[int]
) -> jax.Array:
    """Correlates what windows receive with the mirrored filters."""
    axes = zip(size, output.shape[2:], geometry.padding, strict=True)
    edges = tuple((2 - low, n + low - w) for n, w, (low, _) in axes)
    pixels = _transformed(PIXELS, _tiles(output, size, edges))
    filters = _transformed(FILTER, _corners(jnp.flip(weight, (2, 3))))
    return _assembled(_paired(_product.pull_input, pixels, filters), len(output), size)


def pull_weight(
    input: jax.Array, output: jax.Array, *, geometry: Geometry, kernel: Sequence[int]
) -> jax.Array:
    """Correlates pixels with what their windows receive.

    Weights whose pixels never meet anything get zero, not what rounding leaves of it.
    """
    del kernel
    windows = output.shape[2:]
    pixels = _transformed(PIXELS, _tiles(input, windows, geometry.padding))
    received = _transformed(OUTPUT.T, _halves(output))
    products = _paired(_product.pull_weight, received, pixels)
    largest = _transformed(np.abs(FILTER.T), [[jnp.abs(x) for x in line] for line in products])
    taps = _paired(_unless_rounding, _transformed(FILTER.T, products), largest)
    return jnp.stack([jnp.stack(line, -1) for line in taps], -2)


def _unless_rounding(sum_: jax.Array, of_magnitudes: jax.Array) -> jax.Array:
    """A sum, or zero where it is no larger than its terms' rounding may be."""
    return jnp.where(jnp.abs(sum_) <= ROUNDING * jnp.finfo(sum_.dtype).eps * of_magnitudes, 0, sum_)


def _tiles(images: jax.Array, outputs: Sequence[int], edges: Sequence[tuple[int, int]]) -> Grid:
    """The 4x4 pixels behind every 2x2 outputs, each ``(N * tiles, C)``."""
    tiles = [-(-n // 2) for n in outputs]
    axes = zip(tiles, edges, images.shape[2:], strict=True)
    pads = [(0, 0, 0), *((low, 2 * n + 2 - low - size, 0) for n, (low, _), size in axes), (0, 0, 0)]
    whole = lax.pad(channels_last(images), jnp.zeros((), images.dtype), pads)
    return [
        [
            rows(whole[:, i : i + 2 * tiles[0] - 1 : 2, j : j + 2 * tiles[1] - 1 : 2])
            for j in range(4)
        ]
        for i in range(4)
    ]


def _halves(output: jax.Array) -> Grid:
    """The 2x2 outputs of every tile, each ``(N * tiles, O)``."""
    odd = [(0, 0), *((0, n % 2) for n in output.shape[2:]), (0, 0)]
    whole = jnp.pad(channels_last(output), odd)
    return [[rows(whole[:, i::2, j::2]) for j in range(2)] for i in range(2)]


def _corners(weight: jax.Array) -> Grid:
    """The 3x3 taps of the filters, each ``(O, C)``."""
    return [[weight[:, :, i, j] for j in range(3)] for i in range(3)]


def _transformed(matrix: np.ndarray, grid: Grid) -> Grid:
    """The product ``M grid M^T`` of a matrix of numbers and a grid of arrays."""
    columns = [[_combined(row, column) for row in matrix] for column in zip(*grid, strict=True)]
    return [[_combined(row, line) for row in matrix] for line in zip(*columns, strict=True)]


def _combined(factors: np.ndarray, arrays: Sequence[jax.Array]) -> jax.Array:
    terms = [(float(f), x) for f, x in zip(factors, arrays, strict=True) if f]
    return total(x if f == 1 else -x if f == -1 else f * x for f, x in terms)


def _paired(function: Callable[..., jax.Array], left: Grid, right: Grid) -> Grid:
    """A function of each pair of arrays."""
    pairs = zip(left, right, strict=True)
    return [[function(a, b) for a, b in zip(*lines, strict=True)] for lines in pairs]


def _assembled(products: Grid, number: int, size: Sequence[int]) -> jax.Array:
    """The outputs ``(N, O, *size)`` of all tiles."""
    high, wide = (-(-n // 2) for n in size)
    split = [
        [x.reshape(number, high, wide, -1) for x in row] for row in _transformed(OUTPUT, products)
    ]
    lines = [jnp.stack(row, 3).reshape(number, high, 2 * wide, -1) for row in split]
    whole = jnp.stack(lines, 2).reshape(number, 2 * high, 2 * wide, -1)
    return channels_first(whole[:, : size[0], : size[1]])
