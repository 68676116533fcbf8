"""Faults in one term of a loss of several."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

import fdl
import fdl.functional as F
from faults.table import Fault, Pair
from fdl import nn

WEIGHT = np.array([0.5, 1.0, 2.0, 1.5])
POSITIVE = np.array([1.0, 2.0, 3.0, 4.0])
EXAMPLES, CLASSES, SMOOTHING, IGNORED = 15, 4, 0.1, 2
TORCH = torch.nn.functional


def torch_regression(y, t):
    kl = TORCH.kl_div(y[:, 6:].log_softmax(1), t.softmax(1), reduction="batchmean")
    return (
        TORCH.smooth_l1_loss(y[:, :3], t, beta=0.5) + TORCH.huber_loss(y[:, 3:6], t, delta=0.7) + kl
    )


class Regression(NamedTuple):
    smooth: Callable = partial(F.smooth_l1_loss, beta=0.5)
    huber: Callable = partial(F.huber_loss, delta=0.7)
    kl: Callable = partial(F.kl_div, reduction="batchmean")

    def __call__(self, y, t):
        divergence = self.kl(jax.nn.log_softmax(y[:, 6:]), jax.nn.softmax(t))
        return self.smooth(y[:, :3], t) + self.huber(y[:, 3:6], t) + divergence


def torch_classification(y, t):
    weight, positive = torch.tensor(WEIGHT).to(y), torch.tensor(POSITIVE).to(y)
    many = TORCH.one_hot(t, CLASSES).to(y)
    return (
        TORCH.cross_entropy(y[:, :4], t, weight, label_smoothing=SMOOTHING)
        + TORCH.nll_loss(y[:, 4:8].log_softmax(1), t, ignore_index=IGNORED)
        + TORCH.binary_cross_entropy_with_logits(y[:, 8:12], many, pos_weight=positive)
        + TORCH.multi_margin_loss(y[:, 12:], t, margin=0.5)
    )


def crossed(y, t, smoothing=SMOOTHING):
    return F.cross_entropy(y, t, jnp.asarray(WEIGHT, y.dtype), label_smoothing=smoothing)


def binary(y, t):
    return F.binary_cross_entropy_with_logits(y, t, pos_weight=jnp.asarray(POSITIVE, y.dtype))


class Classification(NamedTuple):
    crossed: Callable = crossed
    nll: Callable = partial(F.nll_loss, ignore_index=IGNORED)
    binary: Callable = binary
    hinge: Callable = partial(F.multi_margin_loss, margin=0.5)

    def __call__(self, y, t):
        likelihood = self.nll(jax.nn.log_softmax(y[:, 4:8]), t)
        apart = self.binary(y[:, 8:12], jax.nn.one_hot(t, CLASSES))
        return self.crossed(y[:, :4], t) + likelihood + apart + self.hinge(y[:, 12:], t)


def by_examples(y, t):
    """The mean over examples, not over their weights."""
    weight = jnp.asarray(WEIGHT, y.dtype)
    options = {"label_smoothing": SMOOTHING, "reduction": "sum"}
    return F.cross_entropy(y, t, weight, **options) / len(t)


def over_others(y, t):
    """Smoothed labels as some libraries make them: the true class gets none of the smoothing."""
    weight = jnp.asarray(WEIGHT, y.dtype)
    true = jax.nn.one_hot(t, CLASSES)
    smooth = (1 - SMOOTHING) * true + SMOOTHING / (CLASSES - 1) * (1 - true)
    return -(smooth * weight * jax.nn.log_softmax(y)).sum() / weight[t].sum()


def weighed_by_label(y, t):
    """As a loss of smoothed one-hot labels, weighed by example."""
    losses = optax.softmax_cross_entropy(
        y, optax.smooth_labels(jax.nn.one_hot(t, CLASSES), SMOOTHING)
    )
    weight = jnp.asarray(WEIGHT, y.dtype)[t]
    return (losses * weight).sum() / weight.sum()


def weighed_both(y, t):
    weight = jnp.asarray(POSITIVE, y.dtype)
    return (optax.sigmoid_binary_cross_entropy(y, t) * weight).mean()


def hinge_with_truth(y, t):
    """The true class counts as one that is wrong, by the margin."""
    true = jnp.take_along_axis(y, t[:, None], 1)
    return jnp.maximum(0, 0.5 + y - true).mean()


def torch_metric(y, t):
    first, second, third = y[:, :3], y[:, 3:6], y[:, 6:9]
    return (
        TORCH.triplet_margin_loss(first, second, third, margin=0.5)
        + TORCH.cosine_embedding_loss(first, second, t, margin=0.2)
        + TORCH.hinge_embedding_loss(y[:, 9], t, margin=2.0)
    )


class Metric(NamedTuple):
    triplet: Callable = partial(F.triplet_margin_loss, margin=0.5)
    cosine: Callable = partial(F.cosine_embedding_loss, margin=0.2)
    hinge: Callable = partial(F.hinge_embedding_loss, margin=2.0)

    def __call__(self, y, t):
        first, second, third = y[:, :3], y[:, 3:6], y[:, 6:9]
        apart = self.cosine(first, second, t) + self.hinge(y[:, 9], t)
        return self.triplet(first, second, third) + apart


def squared_triplet(anchor, positive, negative):
    near, far = (((anchor - x) ** 2).sum(1) for x in (positive, negative))
    return jnp.maximum(0, near - far + 0.5).mean()


def optax_triplet(anchor, positive, negative):
    return optax.losses.triplet_margin_loss(anchor, positive, negative, margin=0.5).mean()


def twin(width: int) -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.Tanh(), torch.nn.Linear(6, width))


def network(width: int) -> fdl.Model:
    return fdl.as_model(
        lambda rngs: nn.Sequential(
            nn.Linear(5, 6, rngs=rngs), nn.Tanh(), nn.Linear(6, width, rngs=rngs)
        )
    )


def targets(kind: str, generator: np.random.Generator) -> Any:
    if kind == "regression":
        return generator.normal(size=(EXAMPLES, 3))
    if kind == "classification":
        return np.arange(EXAMPLES) % CLASSES
    return generator.choice([-1, 1], EXAMPLES)


LOSSES: dict[str, tuple[int, Callable, Callable]] = {
    "regression": (9, torch_regression, Regression),
    "classification": (16, torch_classification, Classification),
    "metric": (10, torch_metric, Metric),
}
"""By kind: how many numbers the network returns, the loss in torch, and in JAX."""


def pair(kind: str, **terms: Any) -> Pair:
    width, reference, candidate = LOSSES[kind]
    generator = np.random.default_rng(0)
    batches = [(generator.normal(size=(EXAMPLES, 5)), targets(kind, generator)) for _ in range(2)]
    options = {"optimizer": (torch.optim.SGD, fdl.optim.sgd()), "steps": 2}
    options["loss"] = (reference, candidate(**terms))
    return Pair(partial(twin, width), network(width), batches, options)


def at(name: str, kind: str, cause: str, **terms: Any) -> Fault:
    return Fault(name, pair(kind, **terms), "", "loss", 0, cause)


PAIRS = {f"{kind} losses": pair(kind) for kind in LOSSES}

FAULTS = [
    at("smooth L1 with beta 1", "regression", "beta or delta", smooth=F.smooth_l1_loss),
    at(
        *("smooth L1 as Huber's loss", "regression", "beta or delta"),
        smooth=partial(F.huber_loss, delta=0.5),
    ),
    at(
        *("Huber's loss as smooth L1", "regression", "beta or delta"),
        huber=partial(F.smooth_l1_loss, beta=0.7),
    ),
    at("divergence averaged over elements", "regression", "reduction", kl=F.kl_div),
    at(
        *("divergence the other way", "regression", "divergence"),
        kl=lambda x, t: F.kl_div(jnp.log(t), jnp.exp(x), "batchmean"),
    ),
    at(
        *("cross-entropy for divergence", "regression", "divergence"),
        kl=lambda x, t: -(t * x).sum(1).mean(),
    ),
    at(
        *("labels not smoothed", "classification", "label smoothing"),
        crossed=partial(crossed, smoothing=0.0),
    ),
    at(
        *("labels smoothed over the other classes", "classification", "label smoothing"),
        crossed=over_others,
    ),
    at("weighted mean over examples", "classification", "class weights", crossed=by_examples),
    at("smoothing weighed by label", "classification", "class weights", crossed=weighed_by_label),
    at("ignored class counted", "classification", "ignore_index", nll=F.nll_loss),
    at(
        *("positive labels unweighed", "classification", "class weights"),
        binary=F.binary_cross_entropy_with_logits,
    ),
    at("negative labels weighed too", "classification", "class weights", binary=weighed_both),
    at("margin of 1", "classification", "margin", hinge=F.multi_margin_loss),
    at("true class in the hinge", "classification", "mean over classes", hinge=hinge_with_truth),
    at("squared distances in a triplet", "metric", "distance", triplet=squared_triplet),
    at("triplet loss of Optax", "metric", "distance", triplet=optax_triplet),
    at("cosine loss without margin", "metric", "margin", cosine=F.cosine_embedding_loss),
]
