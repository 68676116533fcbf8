"""Connectionist temporal classification: the loss of a sequence without an alignment."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from fdl._checks import check_ndim
from fdl.functional._losses import reduced

Lengths = Int[Array, "*N"] | Sequence[int] | int


def ctc_loss(
    log_probs: Float[Array, "T *N C"],
    targets: Int[Array, "..."],
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Float[Array, "..."]:
    r"""Negative log likelihood of label sequences, summed over all their alignments to the input.

    An alignment names one class at each time; repeated names count once, and blanks, which may also
    stand between two equal labels, count for nothing. All alignments are summed by one scan
    over time, on logarithms.

    Args:
        log_probs: log-probabilities ``(T, N, C)``, or ``(T, C)`` for one sequence.
        targets: labels ``(N, S)``, padded with anything; or ``(sum of lengths,)``, one sequence
            after the other; or ``(S,)`` for one sequence.
        input_lengths: times that count in each sequence ``(N,)``, at most ``T``.
        target_lengths: labels of each sequence ``(N,)``.
        blank: the class that stands for no label.
        reduction: ``"mean"``, which first divides each loss by its number of labels; ``"sum"``;
            or ``"none"``.
        zero_infinity: make losses of sequences that no alignment fits, which are infinite, and
            their gradients 0.

    Returns:
        A scalar, or with ``"none"`` one number for each sequence ``(N,)``.

    Raises:
        ValueError: if shapes do not fit, `reduction` is unknown, or a length or label is out of
            range (inside ``jax.jit`` that makes the loss NaN).
        TypeError: if labels or lengths are not integers.

    Torch: ``torch.nn.functional.ctc_loss``, whose gradient is exact only below a ``log_softmax``,
    and this one is the same: :math:`e^{x}` minus the probability that the class is named at that
    time. Labels out of range raise, where torch reads what it finds.

    Source: Graves et al., "Connectionist Temporal Classification", ICML 2006.
    """
    check_ndim("ctc_loss", "log_probs", log_probs, expected={2: "(T, C)", 3: "(T, N, C)"})
    single = log_probs.ndim == 2
    if single:
        log_probs, targets = log_probs[:, None], targets.reshape(1, -1)
    times, batch, classes = log_probs.shape
    frames = _lengths("input_lengths", input_lengths, batch, times)
    counts = _lengths("target_lengths", target_lengths, batch, None)
    _check_labels(targets, counts, batch, classes, blank)
    padded = targets if targets.ndim == 2 else _padded(targets, counts)
    inside = jnp.arange(padded.shape[1]) < counts[:, None]
    symbols = jnp.where(inside, padded.astype(jnp.result_type(int)), blank)
    losses = _losses(log_probs, symbols, frames, counts, blank)
    impossible = losses == jnp.inf
    slope = _slope(log_probs, impossible, frames)
    if zero_infinity:
        losses, slope = jnp.where(impossible, 0, losses), jnp.where(impossible[:, None], 0, slope)
    losses = _sloped(losses, log_probs, slope)
    wrong = (frames > times) | (counts > padded.shape[1]) | jnp.any(symbols < 0, 1)
    losses = jnp.where(wrong, jnp.nan, losses)
    if reduction == "mean":
        losses = losses / jnp.maximum(counts, 1).astype(losses.dtype)
    return reduced("ctc_loss", losses[0] if single else losses, reduction)


def _losses(log_probs, symbols, frames, counts, blank):
    """Scans over time the log-probability of all alignments that end in each state.

    The states are the labels with blanks before, between and behind them: ``2 S + 1``.
    """
    states = jnp.full((len(symbols), 2 * symbols.shape[1] + 1), blank).at[:, 1::2].set(symbols)
    scores = jnp.take_along_axis(log_probs, states[None], 2, mode="fill")
    two_before = jnp.pad(states, ((0, 0), (2, 0)), constant_values=blank)[:, :-2]
    may_skip = (states != blank) & (states != two_before)

    def step(alpha, given):
        time, score = given
        one, two = (_shifted(alpha, by) for by in (1, 2))
        new = _log_sum(alpha, one, jnp.where(may_skip, two, -jnp.inf)) + score
        return jnp.where((time < frames)[:, None], new, alpha), None

    start = jnp.full_like(scores, -jnp.inf, shape=states.shape).at[:, 0].set(0)
    alpha, _ = lax.scan(step, start, (jnp.arange(len(scores)), scores))
    last = jnp.take_along_axis(alpha, 2 * counts[:, None], 1)[:, 0]
    before = jnp.take_along_axis(alpha, jnp.maximum(2 * counts[:, None] - 1, 0), 1)[:, 0]
    return -_log_sum(last, jnp.where(counts > 0, before, -jnp.inf))


def _shifted(alpha, by):
    return jnp.pad(alpha, ((0, 0), (by, 0)), constant_values=-jnp.inf)[:, :-by]


def _log_sum(*terms):
    """Logarithm of a sum of exponentials; its derivative is 0 where all are minus infinity."""
    stacked = jnp.stack(terms)
    most = lax.stop_gradient(jnp.max(stacked, 0))
    nothing = most == -jnp.inf
    most = jnp.where(nothing, 0, most)
    total = jnp.sum(jnp.exp(stacked - most), 0)
    return jnp.where(nothing, -jnp.inf, jnp.log(jnp.where(nothing, 1, total)) + most)


@jax.custom_jvp
def _sloped(losses, log_probs, slope):
    """The losses, whose derivative in the log-probabilities is increased by a slope."""
    return losses


@_sloped.defjvp
def _sloped_jvp(primals, tangents):
    (losses, _, slope), (losses_dot, log_probs_dot, _) = primals, tangents
    return losses, losses_dot + jnp.sum(slope * log_probs_dot, (0, 2))


def _slope(log_probs, impossible, frames):
    """What torch's derivative has beyond the loss's own; NaN where that is NaN."""
    undefined = (log_probs == -jnp.inf) | impossible[:, None]
    slope = jnp.where(undefined, jnp.nan, jnp.exp(log_probs))
    within = jnp.arange(len(log_probs))[:, None] < frames
    return jnp.where(within[..., None], slope, 0)


def _padded(targets, counts):
    """Concatenated labels as rows; as long as the longest, or where that is unknown as all."""
    known = not isinstance(counts, jax.core.Tracer)
    longest = int(counts.max(initial=0)) if known else len(targets)
    places = (jnp.cumsum(counts) - counts)[:, None] + jnp.arange(longest)
    return jnp.take(targets, places, mode="clip") if len(targets) else places


def _lengths(name, lengths, batch, most):
    array = lengths if isinstance(lengths, jax.Array) else np.asarray(lengths)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(
            f"ctc_loss: {name}: expected integers, got {array.dtype}. Count frames and labels."
        )
    if array.shape != (batch,) and (array.shape or batch != 1):
        raise ValueError(
            f"ctc_loss: {name}: expected one length for each of {batch} sequences, got shape "
            f"{array.shape}. Shorter inputs stand first in log_probs and are padded behind."
        )
    if not isinstance(array, jax.core.Tracer):
        array = np.asarray(array)
        high = np.inf if most is None else most
        if ((array < 0) | (array > high)).any():
            raise ValueError(
                f"ctc_loss: {name}: expected 0 to {'their number' if most is None else most}, got "
                f"{array.tolist()}. Lengths count times of log_probs and labels of targets."
            )
    return array.reshape(batch).astype(jnp.result_type(int))


def _check_labels(targets, counts, batch, classes, blank):
    if not jnp.issubdtype(targets.dtype, jnp.integer):
        raise TypeError(
            f"ctc_loss: targets: expected class indices (integers), got {targets.dtype}. "
            "Convert with targets.astype(int)."
        )
    check_ndim("ctc_loss", "targets", targets, expected={1: "(sum of lengths,)", 2: "(N, S)"})
    if not 0 <= blank < classes:
        raise ValueError(
            f"ctc_loss: blank: expected a class from 0 to {classes - 1}, got {blank}. "
            "It has a place among the classes."
        )
    if targets.ndim == 2 and len(targets) != batch:
        raise ValueError(
            f"ctc_loss: targets: expected {batch} rows as log_probs (T, N, C) asks, got shape "
            f"{targets.shape}. The batch is log_probs' second axis."
        )
    if isinstance(counts, jax.core.Tracer):
        return
    needed = int(counts.max(initial=0)) if targets.ndim == 2 else int(counts.sum())
    length = targets.shape[-1]
    if length < needed or (targets.ndim == 1 and length > needed):
        raise ValueError(
            f"ctc_loss: targets: expected {needed} labels along the last axis as target_lengths "
            f"asks, got {length}. Pad rows to one length, or pass all labels in one row."
        )
    if isinstance(targets, jax.core.Tracer):
        return
    rows = np.asarray(targets)
    inside = np.arange(length) < counts[:, None] if rows.ndim == 2 else np.ones(length, bool)
    outside = inside & ((rows < 0) | (rows >= classes))
    if outside.any():
        raise ValueError(
            f"ctc_loss: targets: expected classes from 0 to {classes - 1}, got "
            f"{int(rows[outside][0])}. Padding may be anything, but behind target_lengths only."
        )
