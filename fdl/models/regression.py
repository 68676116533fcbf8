"""Linear and logistic regression: a multilayer perceptron without hidden layers."""

from fdl._types import Model
from fdl.models.mlp import mlp


def linear_regression(in_features: int, out_features: int = 1) -> Model:
    r"""Builds a linear regression.

    .. math::
        y = x W^T + b

    Args:
        in_features: numbers that are known of each example.
        out_features: numbers that are predicted.

    Returns:
        A model from ``(N, in_features)`` to ``(N, out_features)``, for ``F.mse_loss``.

    Raises:
        ValueError: if a number of features is below 1.

    Example:
        >>> import fdl, jax
        >>> params, buffers = fdl.models.linear_regression(3).init(jax.random.key(0))
        >>> {name: tensor.shape for name, tensor in sorted(params.items())}
        {'0.bias': (1,), '0.weight': (1, 3)}

    Torch: ``nn.Sequential(nn.Linear(in_features, out_features))``, so the keys are
    those of :func:`fdl.models.mlp`; ``fdl.as_model(lambda rngs: fdl.nn.Linear(..., rngs=rngs))``
    has those of a bare ``nn.Linear``, without the ``"0."``.
    """
    return mlp([in_features, out_features])


def logistic_regression(in_features: int, num_classes: int = 2) -> Model:
    r"""Builds a logistic regression.

    .. math::
        P(1 \mid x) = \mathrm{sigmoid}(x W^T + b), \quad
        P(c \mid x) = \mathrm{softmax}(x W^T + b)_c \text{ for more than two classes}

    Args:
        in_features: numbers that are known of each example.
        num_classes: classes, 2 at least.

    Returns:
        A model from ``(N, in_features)`` to logits: ``(N, 1)`` for two classes, the logit of
        class 1, for ``F.binary_cross_entropy_with_logits`` with targets ``(N, 1)``; else
        ``(N, num_classes)``, for ``F.cross_entropy`` with classes ``(N,)``.

    Raises:
        ValueError: if `in_features` is below 1 or `num_classes` below 2.

    Example:
        >>> import fdl, jax
        >>> params, buffers = fdl.models.logistic_regression(4, num_classes=3).init(
        ...     jax.random.key(0)
        ... )
        >>> params["0.weight"].shape
        (3, 4)

    Torch: ``nn.Sequential(nn.Linear(in_features, 1 or num_classes))``, with the keys
    of :func:`linear_regression`.
    """
    if num_classes < 2:
        raise ValueError(
            f"logistic_regression: num_classes: expected 2 or more, got {num_classes}. Two classes "
            "share one logit."
        )
    return mlp([in_features, 1 if num_classes == 2 else num_classes])
