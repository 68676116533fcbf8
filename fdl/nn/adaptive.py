"""A softmax over very many classes, the rare ones in clusters."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from fdl._checks import check_axis
from fdl.functional._losses import at_class, check_classes
from fdl.nn._module import Dtype, Module
from fdl.nn.container import ModuleList, Sequential
from fdl.nn.linear import Linear


class AdaptiveLogSoftmaxOutput(NamedTuple):
    """What :class:`AdaptiveLogSoftmaxWithLoss` returns.

    Attributes:
        output: each target's log-probability ``(N,)``.
        loss: their mean, negative.
    """

    output: Float[Array, "*N"]
    loss: Float[Array, ""]


class AdaptiveLogSoftmaxWithLoss(Module):
    r"""Log-probabilities of classes that are sorted by how frequent they are.

    The head scores the most frequent classes and each cluster of the others; a cluster's classes
    are scored from a projection of the input to ``in_features / div_value ** k`` features.

    Attributes:
        head: to ``cutoffs[0]`` classes and the clusters.
        tail: a projection and an output map for each cluster.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> from flax import nnx
        >>> layer = fdl.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [5, 10], rngs=nnx.Rngs(0))
        >>> output, loss = layer(jnp.ones((3, 8)), jnp.array([0, 7, 19]))
        >>> output.shape, layer.log_prob(jnp.ones((3, 8))).shape
        ((3,), (3, 20))

    Torch: ``torch.nn.AdaptiveLogSoftmaxWithLoss``; `rngs` instead of a global generator. Shapes
    must not depend on targets, so every cluster scores every row: results are equal, but rare
    classes are not cheaper than frequent ones. Inside ``jax.jit`` a class out of range makes NaN.

    Source: Grave et al., "Efficient softmax approximation for GPUs", ICML 2017.
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        *,
        dtype: Dtype = None,
        rngs: nnx.Rngs,
    ):
        _check_cutoffs(cutoffs, n_classes)
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = (*map(int, cutoffs), n_classes)
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = self.cutoffs[0]
        self.n_clusters = len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, head_bias, dtype=dtype, rngs=rngs)
        clusters = []
        for power, (low, high) in enumerate(pairwise(self.cutoffs), start=1):
            hidden = int(in_features // div_value**power)
            sizes = (in_features, hidden), (hidden, high - low)
            maps = (Linear(*size, bias=False, dtype=dtype, rngs=rngs) for size in sizes)
            clusters.append(Sequential(*maps))
        self.tail = ModuleList(clusters)

    def __call__(
        self, input_: Float[Array, "*N I"], target_: Int[Array, "*N"]
    ) -> AdaptiveLogSoftmaxOutput:
        """Returns each target's log-probability, and the loss; ``(N, I)`` or one row ``(I,)``."""
        self._check(input_, target_)
        rows = jnp.atleast_2d(input_)
        target = jnp.atleast_1d(target_).astype(jnp.result_type(int))
        head = jax.nn.log_softmax(self.head(rows), -1)
        output = at_class(head, target)
        for index, (low, high) in enumerate(pairwise(self.cutoffs)):
            inside = (target >= low) & (target < high)
            local = jax.nn.log_softmax(self.tail[index](rows), -1)
            of_class = at_class(local, jnp.where(inside, target - low, 0))
            output = jnp.where(inside, of_class + head[:, self.shortlist_size + index], output)
        output = jnp.where(target < self.n_classes, output, jnp.nan)
        return AdaptiveLogSoftmaxOutput(output.reshape(target_.shape), -jnp.mean(output))

    def log_prob(self, input: Float[Array, "N I"]) -> Float[Array, "N C"]:
        """Log-probabilities of all classes."""
        head = jax.nn.log_softmax(self.head(input), -1)
        clusters = [
            jax.nn.log_softmax(self.tail[index](input), -1)
            + head[:, self.shortlist_size + index, None]
            for index in range(self.n_clusters)
        ]
        return jnp.concatenate([head[:, : self.shortlist_size], *clusters], -1)

    def predict(self, input: Float[Array, "N I"]) -> Int[Array, " N"]:
        """The likeliest class of each row."""
        return jnp.argmax(self.log_prob(input), -1)

    def _check(self, input: Array, target: Array) -> None:
        name = "AdaptiveLogSoftmaxWithLoss"
        if input.ndim not in (1, 2):
            raise ValueError(
                f"{name}: input_: expected shape (N, {self.in_features}) or ({self.in_features},), "
                f"got {input.shape}. Reshape to rows."
            )
        check_axis(
            name, "input features", input.shape[-1], expected=self.in_features, of="in_features"
        )
        check_classes(name, target, shape=input.shape[:-1], classes=self.n_classes)


def _check_cutoffs(cutoffs: Sequence[int], n_classes: int) -> None:
    numbers = [0, *cutoffs, n_classes]
    rising = all(int(b) == b and a < b for a, b in pairwise(numbers))
    if not cutoffs or not rising:
        raise ValueError(
            "AdaptiveLogSoftmaxWithLoss: cutoffs: expected whole numbers that rise from 1 to at "
            f"most n_classes - 1 = {n_classes - 1}, got {list(cutoffs)}. Each one is where a "
            "cluster starts."
        )
