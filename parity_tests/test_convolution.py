"""Convolutions by each formulation that a CPU may choose, against torch."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax import export
from nearness import assert_all_equal, assert_near, check

import fdl.functional as F
from fdl.functional._convolution import Geometry, cpu, onednn, winograd
from fdl.functional._convolution.cpu import Shapes, chosen, possible, preferred
from fdl.functional._formulations import FAMILIES, forced

FORMULATIONS = (*FAMILIES["convolution"], None)  # None: what shapes decide
CASES = {
    "3x3": ((2, 3, 9, 8), (4, 3, 3, 3), {"padding": 1}),
    "3x3, odd map, no padding": ((2, 3, 7, 5), (4, 3, 3, 3), {}),
    "3x3, 1x1 map": ((2, 3, 1, 1), (4, 3, 3, 3), {"padding": 1}),
    "3x3, wide padding": ((2, 3, 4, 5), (4, 3, 3, 3), {"padding": (3, 4)}),
    "3x3, stride and unused edge": ((2, 3, 10, 8), (4, 3, 3, 3), {"stride": (2, 3), "padding": 1}),
    "3x3, pixels left over": ((2, 3, 23, 12), (4, 3, 3, 3), {"stride": 5, "padding": 1}),
    "5x4, dilated, stride": (
        (2, 3, 14, 9),
        (4, 3, 5, 4),
        {"stride": 2, "dilation": 2, "padding": 3},
    ),
    "4x4, stride": ((2, 16, 11, 8), (5, 16, 4, 4), {"stride": 2, "padding": 1}),
    "3x2, dilated": ((2, 3, 9, 8), (4, 3, 3, 2), {"dilation": (2, 1), "padding": (1, 0)}),
    "1x1": ((2, 3, 5, 4), (4, 3, 1, 1), {}),
    "1x1, stride": ((2, 3, 5, 4), (4, 3, 1, 1), {"stride": 2}),
    "few windows": ((2, 3, 3, 3), (40, 3, 3, 3), {"padding": 1}),
    "depthwise": ((2, 4, 9, 8), (4, 1, 3, 2), {"groups": 4, "padding": 1}),
    "depthwise, stride": ((2, 4, 9, 8), (4, 1, 3, 3), {"groups": 4, "stride": 2, "padding": 1}),
    "depthwise, dilated": ((2, 4, 9, 8), (4, 1, 3, 3), {"groups": 4, "dilation": 2}),
    "two of each channel": ((2, 4, 9, 8), (8, 1, 3, 3), {"groups": 4}),
    "groups": ((2, 4, 9, 8), (6, 2, 3, 3), {"groups": 2, "padding": 1}),
    "same": ((2, 3, 9, 8), (4, 3, 2, 4), {"padding": "same"}),
    "1d": ((2, 3, 9), (4, 3, 3), {"stride": 2, "padding": 1}),
    "3d": ((2, 3, 5, 6, 7), (4, 3, 3, 1, 2), {"stride": (2, 1, 3), "padding": (1, 0, 1)}),
}
TRANSPOSED = {
    "3x3": ((2, 4, 5, 4), (4, 3, 3, 3), {"padding": 1}),
    "stride": ((2, 4, 5, 4), (4, 3, 3, 2), {"stride": 2, "padding": 1, "output_padding": 1}),
    "one pixel": ((2, 40, 1, 1), (40, 3, 7, 7), {}),
    "depthwise": ((2, 4, 5, 4), (4, 1, 3, 3), {"groups": 4, "stride": 2}),
    "1d": ((2, 4, 5), (4, 3, 3), {"stride": 2, "dilation": 2}),
    "1d, dilated more": ((2, 4, 5), (4, 3, 4), {"stride": 4, "dilation": 6}),
    "4x5, stride": ((2, 4, 5, 4), (4, 16, 4, 5), {"stride": (2, 3), "padding": (1, 5)}),
}
every_formulation = pytest.mark.parametrize("name", FORMULATIONS)


def named(cases):
    return pytest.mark.parametrize(("input", "weight", "options"), cases.values(), ids=cases)


def normal(*shapes):
    generator = np.random.default_rng(0)
    return [generator.normal(size=shape) for shape in shapes]


@every_formulation
@named(CASES)
def test_convolution(name, input, weight, options):
    function = f"conv{len(input) - 2}d"
    theirs, ours = (getattr(module, function) for module in (torch.nn.functional, F))
    with forced({"convolution": name}):
        check(partial(theirs, **options), partial(ours, **options), *normal(input, weight))


@every_formulation
@named(TRANSPOSED)
def test_transposed_convolution(name, input, weight, options):
    function = f"conv_transpose{len(input) - 2}d"
    theirs, ours = (getattr(module, function) for module in (torch.nn.functional, F))
    with forced({"convolution": name}):
        check(partial(theirs, **options), partial(ours, **options), *normal(input, weight))


@every_formulation
@pytest.mark.parametrize("groups", [1, 4])
def test_second_derivatives(name, groups):
    def torch_function(x, w):
        y = torch.nn.functional.conv2d(x, w, padding=1, groups=groups)
        return torch.autograd.grad(y.sin().sum(), (x, w), create_graph=True)

    def fdl_function(x, w):
        def objective(x, w):
            return jnp.sin(F.conv2d(x, w, padding=1, groups=groups)).sum()

        return jax.grad(objective, (0, 1))(x, w)

    with forced({"convolution": name}):
        check(torch_function, fdl_function, *normal((2, 4, 5, 4), (4, 4 // groups, 3, 3)))


@pytest.mark.optimised
@every_formulation
@named(CASES)
def test_float32_is_near(name, input, weight, options):
    function = getattr(F, f"conv{len(input) - 2}d")
    x, w = normal(input, weight)
    w /= np.sqrt(w[0].size)  # as layers draw it: outputs, whose cosine is taken, are about 1
    x, w = (array.astype(np.float32) for array in (x, w))

    def values(x, w):
        output, pull = jax.vjp(partial(function, **options), x, w)
        return output, *pull(jnp.cos(output))

    with jax.enable_x64(True):
        expected = values(*(jnp.asarray(array, np.float64) for array in (x, w)))
    with forced({"convolution": name}):
        jax.tree.map(assert_near, values(x, w), expected)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (3, None)])
@pytest.mark.usefixtures("x64")
def test_many_at_once(axes):
    def gradients(x, w):
        y = F.conv2d(x, w, stride=2, padding=1)
        return y, *jax.grad(lambda x, w: jnp.sin(F.conv2d(x, w, padding=1)).sum(), (0, 1))(x, w)

    x, w = normal((3, 2, 4, 7, 6), (3, 5, 4, 3, 3))
    together = jax.vmap(gradients, axes)(
        np.moveaxis(x, 0, axes[0]) if axes[0] is not None else x[0], w if axes[1] == 0 else w[0]
    )
    for k in range(3):
        alone = gradients(x[k] if axes[0] is not None else x[0], w[k] if axes[1] == 0 else w[0])
        assert_all_equal([x[k] for x in together], alone)


@pytest.mark.usefixtures("x64")
def test_forward_mode_is_the_difference_quotient():  # which is exact in what is bilinear
    x, w, x_dot, w_dot = normal((2, 3, 6, 5), (4, 3, 3, 3), (2, 3, 6, 5), (4, 3, 3, 3))
    _, tangent = jax.jvp(partial(F.conv2d, padding=1), (x, w), (x_dot, w_dot))
    moved = [F.conv2d(x + h * x_dot, w + h * w_dot, padding=1) for h in (1e-4, -1e-4)]
    assert_all_equal([tangent], [(moved[0] - moved[1]) / 2e-4])


def test_gpus_and_tpus_run_the_library():
    def gradient(x, w):
        return jax.grad(lambda x: F.conv2d(x, w, padding=1).sum())(x)

    arguments = [jnp.asarray(array, np.float32) for array in normal((2, 64, 8, 8), (64, 64, 3, 3))]
    for platform, convolutions in {"cuda": 1, "tpu": 1, "cpu": 0}.items():
        with forced({"convolution": None}):
            exported = export.export(jax.jit(gradient), platforms=[platform])(*arguments)
        assert exported.mlir_module().count("stablehlo.convolution") == convolutions, platform


def test_without_jit():
    x, w = (jnp.asarray(array, np.float32) for array in normal((2, 3, 6, 5), (4, 3, 3, 3)))
    with jax.disable_jit():
        alone = F.conv2d(x, w)
    assert_near(alone, F.conv2d(x, w))


def shapes(input, weight, stride=1, padding=0, groups=1, dtype=np.float32, **options):
    geometry = Geometry((stride, stride), ((padding, padding),) * 2, (1, 1), groups)
    return Shapes(input, weight, geometry, np.dtype(dtype), **options)


RESNET = ((16, 64, 16, 16), (64, 64, 3, 3))
WIDE = ((16, 32, 32, 32), (64, 32, 4, 4))
STEM = ((16, 3, 64, 64), (64, 3, 7, 7))
intel = partial(shapes, onednn=True, intel=True)


@pytest.mark.parametrize(
    ("expected", "shapes"),
    [
        ("winograd", shapes(*RESNET, padding=1)),
        ("winograd", shapes(*RESNET, padding=1, of="weight")),
        ("patches", shapes(*RESNET, padding=1, dtype=np.float64)),
        ("library", shapes(*RESNET, padding=1, dtype=jnp.bfloat16)),
        ("patches", shapes(*RESNET, padding=1, stride=2)),
        ("library", shapes((8, 64, 27, 27), (192, 64, 5, 5), padding=2)),
        ("library", shapes((8, 3, 224, 224), (64, 3, 11, 11), padding=2, stride=4)),
        ("patches", shapes((16, 512, 2, 2), (512, 512, 3, 3), padding=1)),
        ("patches", shapes((16, 96, 24, 24), (24, 96, 1, 1))),
        ("patches", shapes((64, 32, 14, 14), (64, 32, 3, 3), padding=1, of="weight")),
        ("taps", shapes((16, 96, 24, 24), (96, 1, 3, 3), padding=1, groups=96)),
        ("library", shapes((16, 96, 24, 24), (96, 12, 3, 3), padding=1, groups=8)),
        ("library", shapes((0, 64, 16, 16), (64, 64, 3, 3), padding=1)),
        ("winograd", shapes((4, 64, 56, 56), (64, 64, 3, 3), padding=1, onednn=True)),
        ("onednn", shapes(*RESNET, padding=1, onednn=True)),
        ("onednn", shapes(*RESNET, padding=1, stride=2, onednn=True)),
        ("patches", shapes(*RESNET, padding=1, stride=2, of="input", onednn=True)),
        ("winograd", shapes(*RESNET, padding=1, of="weight", onednn=True)),
        ("phases", shapes(*WIDE, padding=1, stride=2, of="input")),
        ("phases", shapes(*WIDE, padding=1, stride=2, of="input", onednn=True)),
        ("onednn", shapes(*WIDE, padding=1, stride=2, onednn=True)),
        ("patches", shapes(*RESNET, padding=1, dtype=np.float64, onednn=True)),
        ("patches", shapes((16, 96, 24, 24), (24, 96, 1, 1), onednn=True)),
        ("onednn", shapes((16, 96, 24, 24), (24, 96, 1, 1), stride=2, onednn=True)),
        ("onednn", shapes((16, 96, 24, 24), (96, 1, 3, 3), padding=1, groups=96, onednn=True)),
        ("winograd", shapes((8, 64, 13, 13), (64, 64, 3, 3), padding=1, of="weight", onednn=True)),
        ("onednn", shapes(*STEM, padding=3, stride=2, of="weight", onednn=True)),
        ("winograd", shapes(*RESNET, padding=1, of="weight", intel=True)),
        ("onednn", intel((4, 64, 56, 56), (64, 64, 3, 3), padding=1)),
        ("onednn", intel((4, 64, 56, 56), (64, 64, 3, 3), padding=1, of="input")),
        ("patches", intel((16, 512, 2, 2), (512, 512, 3, 3), padding=1)),
        ("patches", intel((16, 512, 2, 2), (512, 512, 3, 3), padding=1, of="input")),
        ("patches", intel(*RESNET, padding=1, stride=2, of="input")),
        ("onednn", intel(*STEM, padding=3, stride=2, of="weight")),
        ("onednn", intel(*RESNET, padding=1, of="weight")),
        ("patches", intel(*RESNET, padding=1, stride=2, of="weight")),
        ("winograd", intel((15, 64, 16, 16), (64, 64, 3, 3), padding=1, of="weight")),
        ("winograd", intel((64, 32, 14, 14), (64, 32, 3, 3), padding=1, of="weight")),
        ("patches", intel((16, 64, 16, 16), (64, 64, 1, 1), of="weight")),
        ("taps", intel((16, 96, 24, 24), (96, 1, 5, 5), padding=2, groups=96, of="weight")),
    ],
)
def test_shapes_decide(expected, shapes):
    with forced({"convolution": None}):
        assert chosen(shapes) == expected


@pytest.mark.optimised
@pytest.mark.parametrize("formulation", ["library", "patches", "winograd", "onednn"])
def test_weights_without_a_gradient_get_none(formulation):
    """Adam would move them by whatever rounding leaves."""
    x, received = (a.astype(np.float32) for a in normal((8, 64, 13, 13), (8, 64, 13, 13)))
    x[..., 1:, :] = 0  # nothing but the first row, which the lowest taps never see

    @jax.jit
    def gradient(x, received):
        pull = jax.vjp(lambda w: F.conv2d(x, w, padding=1), jnp.zeros((64, 64, 3, 3)))[1]
        return pull(received)[0]

    with forced({"convolution": formulation}):
        found = gradient(x, received)
    assert found[:, :, :2].all()
    rounded = 0.01 if formulation == "winograd" else 0.0
    assert (found[:, :, 2] != 0).mean() <= rounded


@every_formulation
@pytest.mark.usefixtures("x64")
def test_windows_that_see_one_pixel_tie(name):
    """Two of four see one pixel in their lowest right corner, as beside a slanted stroke."""
    x, w = np.zeros((1, 1, 4, 4)), normal((8, 1, 3, 3))[0]
    x[..., 2, 3] = x[..., 3, 2] = 0.3

    def torch_function(x, w):
        return torch.nn.functional.max_pool2d(torch.nn.functional.conv2d(x, w), 2)

    with forced({"convolution": name}):
        check(torch_function, lambda x, w: F.max_pool2d(F.conv2d(x, w), 2), x, w)


@pytest.mark.parametrize("is_intel", [False, True])
def test_the_processor_decides(is_intel, monkeypatch):
    monkeypatch.setattr(cpu, "is_intel", lambda: is_intel)
    resnet = shapes(*RESNET, padding=1, of="weight", onednn=True)
    with forced({"convolution": None}):
        assert cpu._module(resnet) is (onednn if is_intel else winograd)


@pytest.mark.parametrize(
    ("expected", "size", "weight", "options"),
    [
        (True, 9, (4, 3, 3, 3), {"padding": 1}),
        (True, 5, (4, 3, 5, 5), {"padding": 2, "stride": 3}),
        (False, 1, (4, 3, 3, 3), {"padding": 1}),  # as many zeros as a window is wide
        (False, 5, (4, 3, 5, 5), {"padding": 2, "stride": 5}),
        (False, 23, (4, 3, 3, 3), {"padding": 1, "stride": 5}),  # pixels behind the last window
        (False, 9, (6, 1, 3, 3), {"padding": 1, "groups": 3}),
        (False, 9, (4, 3, 3, 3), {"padding": 1, "dtype": np.float64}),
    ],
)
def test_onednn_pulls_weights_back_where_it_can(expected, size, weight, options):
    alike = shapes((2, 3, size, size), weight, of="weight", onednn=True, **options)
    assert possible("onednn", alike) is expected
    assert not possible("onednn", alike._replace(onednn=False))


def test_a_forced_formulation_is_used_where_it_can_be():
    with forced({"convolution": "winograd"}):
        assert chosen(shapes((2, 3, 5, 5), (4, 3, 3, 3), dtype=np.float64)) == "winograd"
        assert chosen(shapes((2, 3, 5, 5), (4, 3, 3, 3), stride=2)) == "library"
        assert not possible("winograd", shapes((2, 3, 5, 5), (4, 3, 2, 2)))
        assert not possible("winograd", shapes((2, 1, 5, 5), (4, 1, 3, 3)))
    assert preferred(shapes((2, 3, 5, 5), (4, 3, 3, 3))) == "library"
