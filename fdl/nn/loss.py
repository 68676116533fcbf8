"""Losses between predictions and numbers or distributions, as layers."""

from jaxtyping import Array

import fdl.functional as F
from fdl.functional.ctc import Lengths
from fdl.nn._loss import Loss


class L1Loss(Loss):
    """Absolute error; see ``functional.l1_loss``.

    Torch: ``torch.nn.L1Loss``; no broadcasting.
    """

    def __call__(self, input: Array, target: Array) -> Array:
        """Compares predictions and targets of one shape."""
        return F.l1_loss(input, target, self.reduction)


class MSELoss(Loss):
    """Squared error; see ``functional.mse_loss``.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> float(fdl.nn.MSELoss()(jnp.array([1.0, 2.0]), jnp.array([0.0, 0.0])))
        2.5

    Torch: ``torch.nn.MSELoss``; no broadcasting.
    """

    def __call__(self, input: Array, target: Array) -> Array:
        """Compares predictions and targets of one shape."""
        return F.mse_loss(input, target, self.reduction)


class SmoothL1Loss(Loss):
    """Squared error near 0, absolute error beyond `beta`; see ``functional.smooth_l1_loss``.

    Torch: ``torch.nn.SmoothL1Loss``; no broadcasting.
    """

    def __init__(self, reduction: str = "mean", beta: float = 1.0):
        super().__init__(reduction)
        self.beta = beta

    def __call__(self, input: Array, target: Array) -> Array:
        """Compares predictions and targets of one shape."""
        return F.smooth_l1_loss(input, target, self.reduction, self.beta)


class HuberLoss(Loss):
    """Squared error near 0, absolute error beyond `delta`; see ``functional.huber_loss``.

    Torch: ``torch.nn.HuberLoss``; no broadcasting.
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0):
        super().__init__(reduction)
        if not isinstance(delta, float | int):
            raise TypeError(
                f"HuberLoss: delta: expected a number, got {delta!r}. It is where the kinds meet."
            )
        self.delta = delta

    def __call__(self, input: Array, target: Array) -> Array:
        """Compares predictions and targets of one shape."""
        return F.huber_loss(input, target, self.reduction, self.delta)


class PoissonNLLLoss(Loss):
    """Negative log likelihood of counts; see ``functional.poisson_nll_loss``.

    Torch: ``torch.nn.PoissonNLLLoss``; no broadcasting.
    """

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        eps: float = 1e-8,
        reduction: str = "mean",
    ):
        super().__init__(reduction)
        self.log_input = log_input
        self.full = full
        self.eps = eps

    def __call__(self, log_input: Array, target: Array) -> Array:
        """Compares expected counts, or their logarithms, with counts."""
        return F.poisson_nll_loss(
            log_input, target, self.log_input, self.full, self.eps, self.reduction
        )


class GaussianNLLLoss(Loss):
    """Negative log likelihood under normal distributions; see ``functional.gaussian_nll_loss``.

    Torch: ``torch.nn.GaussianNLLLoss``; no broadcasting of targets.
    """

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean"):
        super().__init__(reduction)
        self.full = full
        self.eps = eps

    def __call__(self, input: Array, target: Array, var: Array | float) -> Array:
        """Compares expected values and variances with observations."""
        return F.gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)


class KLDivLoss(Loss):
    """Kullback-Leibler divergence; see ``functional.kl_div``, also for ``"batchmean"``.

    Torch: ``torch.nn.KLDivLoss``; no broadcasting, no warning at ``"mean"``.
    """

    def __init__(self, reduction: str = "mean", log_target: bool = False):
        super().__init__(reduction)
        self.log_target = log_target

    def __call__(self, input: Array, target: Array) -> Array:
        """Compares log-probabilities with probabilities, or with `log_target` such logarithms."""
        return F.kl_div(input, target, self.reduction, self.log_target)


class CTCLoss(Loss):
    """Loss of a label sequence without an alignment; see ``functional.ctc_loss``.

    Example:
        >>> import fdl, jax, jax.numpy as jnp
        >>> log_probs = jax.nn.log_softmax(jnp.zeros((2, 1, 3)))
        >>> round(float(fdl.nn.CTCLoss()(log_probs, jnp.array([[1]]), (2,), (1,))), 4)
        1.0986

    Torch: ``torch.nn.CTCLoss``; see the function.
    """

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False):
        super().__init__(reduction)
        self.blank = blank
        self.zero_infinity = zero_infinity

    def __call__(
        self,
        log_probs: Array,
        targets: Array,
        input_lengths: Lengths,
        target_lengths: Lengths,
    ) -> Array:
        """Compares log-probabilities ``(T, N, C)`` with labels ``(N, S)`` or in one row."""
        return F.ctc_loss(
            log_probs,
            targets,
            input_lengths,
            target_lengths,
            self.blank,
            self.reduction,
            self.zero_infinity,
        )
