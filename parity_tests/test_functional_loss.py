"""Losses against torch in float64, and what they do with labels that no class has."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as tF
from nearness import assert_near, check

import fdl.functional as F

CLASSES = 5
REDUCTIONS = ("mean", "sum", "none")
SHAPES = {"(C,)": (CLASSES,), "(N, C)": (4, CLASSES), "(N, C, d1, d2)": (3, CLASSES, 2, 4)}
ROWS = SHAPES["(N, C)"]
WEIGHT = np.array([0.5, 2.0, 1.0, 0.0, 3.0])
LOGITS = np.array([[2.0, 0.0, 1.0]])


def logits(shape: tuple[int, ...]) -> np.ndarray:
    return 3 * np.random.default_rng(0).normal(size=shape)


def targets(kind: str, shape: tuple[int, ...]) -> np.ndarray:
    axis = 0 if len(shape) == 1 else 1
    without = shape[:axis] + shape[axis + 1 :]
    indices = np.array(np.random.default_rng(1).integers(0, CLASSES, without))
    if kind == "all ignored":
        return np.full(without, -100)
    if kind == "some ignored":
        indices[np.random.default_rng(2).random(without) < 0.4] = -100
    if kind == "probabilities":
        drawn = np.random.default_rng(1).dirichlet(np.ones(CLASSES), without)
        return np.moveaxis(drawn, -1, axis)
    indices.flat[0] = 0  # one at least is of a class that has weight
    return indices


KINDS = ("indices", "some ignored", "all ignored", "probabilities")


def check_cross_entropy(input: np.ndarray, target: np.ndarray, *, weighted=False, **options):
    """Torch has no gradient for the weights, so they are not among the inputs."""

    def of_torch(x, t):
        return tF.cross_entropy(x, t, torch.tensor(WEIGHT) if weighted else None, **options)

    def of_fdl(x, t):
        return F.cross_entropy(x, t, jnp.asarray(WEIGHT) if weighted else None, **options)

    check(of_torch, of_fdl, input, target)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_cross_entropy(kind, shape):
    arrays = logits(shape), targets(kind, shape)
    for weighted, smoothing, reduction in product((False, True), (0.0, 0.1), REDUCTIONS):
        options = {"label_smoothing": smoothing, "reduction": reduction}
        check_cross_entropy(*arrays, weighted=weighted, **options)


@pytest.mark.parametrize("ignored", [2, -1, 255])
def test_another_ignore_index(ignored):
    target, options = np.array([0, ignored, 4, ignored]), {"label_smoothing": 0.2}
    check_cross_entropy(logits(ROWS), target, weighted=True, ignore_index=ignored, **options)


@pytest.mark.parametrize("scale", [1e3, 1e100])
def test_huge_logits(scale):
    check_cross_entropy(scale * logits(ROWS), targets("indices", ROWS))


def test_impossible_classes():
    masked = np.where(logits(ROWS) < -2, -np.inf, logits(ROWS))
    check_cross_entropy(masked, masked.argmax(1))


def test_full_smoothing_forgets_the_label():
    check_cross_entropy(logits(ROWS), targets("indices", ROWS), label_smoothing=1.0)


def test_empty_batch():
    check_cross_entropy(np.zeros((0, CLASSES)), np.zeros(0, int), reduction="sum")


@pytest.mark.parametrize("label", [-100, -3, -1, 3, 255])
def test_label_out_of_range_under_jit_makes_nan(label):
    """Clamping, or counting from the end, would train on a wrong label."""
    loss = jax.jit(partial(F.cross_entropy, ignore_index=-7))
    assert np.isnan(loss(jnp.asarray(LOGITS), jnp.array([label])))


@pytest.mark.parametrize("label", [-100, -3, -1, 3, 255])
def test_label_out_of_range_raises_as_in_torch(label):
    with pytest.raises(ValueError, match=f"expected class indices from 0 to 2.* got {label}"):
        F.cross_entropy(jnp.asarray(LOGITS), jnp.array([label]), ignore_index=-7)
    with pytest.raises(IndexError):
        tF.cross_entropy(torch.tensor(LOGITS), torch.tensor([label]), ignore_index=-7)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32"])
def test_labels_of_any_integer_type(dtype):
    rows, wide = jnp.asarray(logits((4, 300))), np.array([0, 100, 17, 99])
    expected = F.cross_entropy(rows, jnp.asarray(wide))
    assert F.cross_entropy(rows, jnp.asarray(wide.astype(dtype))) == expected
    assert jax.jit(F.cross_entropy)(rows, jnp.asarray(wide.astype(dtype))) == expected


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
def test_many_losses_of_one_size_add_up_as_exactly_as_torchs(weighted, reduction):
    generator = np.random.default_rng(0)
    scores = np.zeros((2, 3, 32, 48), np.float32)
    target = generator.integers(0, 3, (2, 32, 48))
    weight = np.float32([2, 2, 3]) if weighted else None
    ours = jax.jit(partial(F.cross_entropy, reduction=reduction))(scores, target, weight)
    theirs = tF.cross_entropy(
        torch.tensor(scores, dtype=torch.float64),
        torch.tensor(target),
        None if weight is None else torch.tensor(weight, dtype=torch.float64),
        reduction=reduction,
    )
    assert_near(ours, theirs)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_an_infinite_loss_stays_infinite(reduction):
    assert F.l1_loss(jnp.array([jnp.inf, 1.0]), jnp.zeros(2), reduction=reduction) == jnp.inf
