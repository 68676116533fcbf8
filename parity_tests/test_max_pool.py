"""Maximum pooling by each formulation, against torch: ties, infinities, NaN, and what rounds."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as tF
from jax import export
from nearness import check

import fdl.functional as F
from fdl.functional._formulations import FAMILIES, forced
from fdl.parity import TOLERANCE
from fdl.parity.judge import distance, maximum

KERNELS = (2, pytest.param(3, marks=pytest.mark.nightly), (3, 2))
STRIDES = (None, 1, (2, 4))
OPTIONS = list(product((0, 1), (1, (1, 2)), (False, True)))
every_formulation = pytest.mark.parametrize("name", FAMILIES["max_pool"])


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def hard_images(*shape: int) -> np.ndarray:
    """Channels of ties, of ties with infinities, of nothing but -inf, and of NaN among numbers."""
    images = np.random.default_rng(0).integers(0, 3, (2, 4, *shape)).astype(np.float64)
    chosen = normal(2, *shape)
    images[:, 1][chosen > 0.5] = -np.inf
    images[:, 1][chosen < -1.5] = np.inf
    images[:, 2] = -np.inf
    images[:, 3][chosen > 1] = np.nan
    return images


@every_formulation
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("stride", STRIDES)
def test_max_pool2d(name, kernel, stride):
    for padding, dilation, ceil_mode in OPTIONS:
        options = {"padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
        given = {"kernel_size": kernel, "stride": stride, **options, "return_indices": True}
        with forced({"max_pool": name}):
            check(
                partial(tF.max_pool2d, **given), partial(F.max_pool2d, **given), hard_images(7, 8)
            )


@every_formulation
@pytest.mark.parametrize("dims", [1, 3])
def test_other_dimensions(name, dims):
    function, images = f"max_pool{dims}d", hard_images(*(5, 7, 6)[:dims])
    for stride, dilation in product((1, 2), (1, 2)):
        options = {"kernel_size": 2, "stride": stride, "padding": 1, "dilation": dilation}
        theirs, ours = (partial(getattr(f, function), **options) for f in (tF, F))
        with forced({"max_pool": name}):
            check(theirs, ours, images)


@every_formulation
def test_windows_of_many_pixels(name):
    with forced({"max_pool": name}):
        check(
            partial(tF.max_pool2d, kernel_size=5),
            partial(F.max_pool2d, kernel_size=5),
            normal(2, 3, 11, 10),
        )


@every_formulation
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int32"])
def test_other_dtypes(name, dtype):
    images = np.random.default_rng(0).integers(-9, 9, (2, 3, 7, 8))
    expected, places = tF.max_pool2d(torch.tensor(images).double(), 4, 2, return_indices=True)
    with forced({"max_pool": name}):
        output, indices = F.max_pool2d(jnp.asarray(images, dtype), 4, 2, return_indices=True)
    assert output.dtype == dtype
    np.testing.assert_array_equal(np.asarray(output, np.float64), expected)
    np.testing.assert_array_equal(indices, places)


@every_formulation
def test_without_indices_is_the_same(name):
    images = hard_images(7, 8)
    with forced({"max_pool": name}):
        output, _ = F.max_pool2d(images, 3, 2, 1, return_indices=True)
        np.testing.assert_array_equal(F.max_pool2d(images, 3, 2, 1), output)


@every_formulation
def test_second_derivatives(name):
    def torch_function(x):
        total = tF.max_pool2d(x, 3, 2, 1).sin().sum()
        return torch.autograd.grad(total, x, create_graph=True)[0]

    def fdl_function(x):
        return jax.grad(lambda x: jnp.sin(F.max_pool2d(x, 3, 2, 1)).sum())(x)

    with forced({"max_pool": name}):
        check(torch_function, fdl_function, normal(2, 3, 7, 8))


@every_formulation
@pytest.mark.usefixtures("x64")
def test_forward_mode_and_many_at_once(name):
    images, tangents = normal(3, 2, 3, 7, 8), normal(3, 2, 3, 7, 8, seed=1)

    def moved(x, dx):
        return jax.jvp(partial(F.max_pool2d, kernel_size=3, stride=2), (x,), (dx,))

    with forced({"max_pool": name}):
        together = jax.vmap(moved)(images, tangents)
        for k in range(3):
            _, indices = F.max_pool2d(images[k], 3, 2, return_indices=True)
            flat = tangents[k].reshape(2, 3, -1)
            chosen = np.take_along_axis(flat, np.asarray(indices).reshape(2, 3, -1), -1)
            np.testing.assert_array_equal(together[1][k], chosen.reshape(indices.shape))
            np.testing.assert_array_equal(together[0][k], F.max_pool2d(images[k], 3, 2))


def test_gpus_and_tpus_reduce_windows():
    images = jnp.zeros((2, 3, 8, 8), jnp.float32)
    for platform, reductions in {"cuda": 1, "tpu": 1, "cpu": 0}.items():
        with forced({"max_pool": None}):
            exported = export.export(
                jax.jit(partial(F.max_pool2d, kernel_size=2)), platforms=[platform]
            )
            assert exported(images).mlir_module().count("stablehlo.reduce_window") == reductions


def blocks(f, normalized, images, *weights):
    """Blocks of convolution, batch norm, ReLU and pooling, each with three tensors of weights."""
    for start in range(0, len(weights), 3):
        kernel, scale, shift = weights[start : start + 3]
        images = f.relu(normalized(f.conv2d(images, kernel, padding=1), scale, shift))
        images = f.max_pool2d(images, 2)
    return images


def torch_blocks(*arrays):
    """The gradient of the blocks' squared sum to the images."""
    images, *weights = map(torch.tensor, arrays)
    norm = partial(tF.batch_norm, running_mean=None, running_var=None, training=True)
    output = blocks(
        tF, lambda x, w, b: norm(x, weight=w, bias=b), images.requires_grad_(), *weights
    )
    return torch.autograd.grad(output.square().sum(), images)[0].numpy()


def fdl_blocks(images, *weights):
    norm = partial(F.batch_norm, running_mean=None, running_var=None, training=True)
    output = blocks(F, lambda x, w, b: norm(x, weight=w, bias=b).output, images, *weights)
    return jnp.square(output).sum()


@pytest.mark.optimised
@every_formulation
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_pooled_constant_background_keeps_its_ties_under_jit(name, dtype):
    """Fusion may round a value differently forward and backward, and so break a tie."""
    shapes = (16, 3, 3, 3), (16,), (16,), (16, 16, 3, 3), (16,), (16,)
    gradient_of = jax.jit(jax.grad(lambda *arrays: fdl_blocks(*arrays)))
    for seed in range(16):  # some constants round alike by luck
        generator = np.random.default_rng(seed)
        images = np.zeros((8, 3, 16, 16))
        images[:, :, 4:8, 4:8] = generator.normal(size=(8, 3, 4, 4))
        arrays = [images, *(generator.normal(size=shape) for shape in shapes)]
        single = [array.astype(dtype) for array in arrays]
        oracle, own = torch_blocks(*arrays), torch_blocks(*single)
        with jax.enable_x64(dtype == "float64"), forced({"max_pool": name}):
            got = np.asarray(gradient_of(*single))
        error, reference_error = (
            distance(gradient, oracle, maximum(oracle), maximum) for gradient in (got, own)
        )
        budget = TOLERANCE.float32(reference_error)
        assert error <= (TOLERANCE.float64 if dtype == "float64" else budget), seed
