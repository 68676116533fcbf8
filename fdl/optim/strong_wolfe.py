"""Torch's line search for the strong Wolfe conditions, as one loop with one evaluation."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

DECREASE = 1e-4
"""Share of the decrease promised by the slope that a step must achieve."""

CURVATURE = 0.9
"""Share of the slope that may be left."""

SMALLEST = 1e-9
"""Brackets are not refined below this change of any parameter."""


class Point(NamedTuple):
    """A point of the line.

    Attributes:
        t: where, in steps along the direction.
        value: the loss there.
        grad: its flat gradient.
        slope: the derivative along the direction.
    """

    t: jax.Array
    value: jax.Array
    grad: jax.Array
    slope: jax.Array


class _Search(NamedTuple):
    evaluations: jax.Array
    trial: jax.Array
    previous: Point
    low: Point
    high: Point
    low_is_second: jax.Array  # in torch's bracket, where equal values leave the first as low
    stalled: jax.Array
    bracketed: jax.Array
    done: jax.Array


def strong_wolfe(
    line: Callable[[jax.Array], Point],
    start: Point,
    trial: jax.Array,
    longest: jax.Array,
    max_iterations: jax.Array,
) -> tuple[Point, jax.Array]:
    """Finds a point of the line that satisfies the strong Wolfe conditions.

    It extrapolates until a bracket holds such a point, then shrinks the bracket, both with cubic
    interpolation.

    Args:
        line: evaluates the point at a step; it must go down from `start`.
        start: the point at step 0.
        trial: the first step to try.
        longest: largest magnitude in the direction.
        max_iterations: evaluations after the first.

    Returns:
        The best point, and the number of evaluations.
    """

    def body(search):
        new = line(search.trial)
        search = search._replace(evaluations=search.evaluations + 1)
        exhausted = search.evaluations > max_iterations
        refined = _refine(search, new, start)
        extrapolated = _extrapolate(search, new, start, exhausted)
        search = _choose(search.bracketed, refined, extrapolated)
        interpolated = _interpolate(search, longest, exhausted)
        return _choose(search.bracketed & ~search.done, interpolated, search)

    no, none = jnp.zeros((), bool), jnp.zeros((), jnp.int32)
    search = _Search(none, trial, start, start, start, no, no, no, no)
    search = jax.lax.while_loop(lambda search: ~search.done, body, search)
    return search.low, search.evaluations


def _extrapolate(search: _Search, new: Point, start: Point, exhausted: jax.Array) -> _Search:
    """Takes the new point, a bracket that ends there, or a longer step."""
    previous = search.previous
    rises = (search.evaluations > 2) & (new.value >= previous.value)
    above = ~exhausted & (_too_high(new, start) | rises)
    found = ~exhausted & ~above & _is_flat(new, start)
    first = _choose(exhausted, start, previous)
    first_is_low = ~found & (first.value <= new.value)
    return search._replace(
        trial=_cubic_minimum(previous, new, new.t + 0.01 * (new.t - previous.t), new.t * 10),
        previous=new,
        low=_choose(first_is_low, first, new),
        high=_choose(first_is_low, new, first),
        low_is_second=~first_is_low,
        bracketed=above | (new.slope >= 0),
        done=exhausted | found,
    )


def _refine(search: _Search, new: Point, start: Point) -> _Search:
    """Puts the new point in place of an end of the bracket."""
    low, high = search.low, search.high
    worse = _too_high(new, start) | (new.value >= low.value)
    second, first = (
        _choose(search.low_is_second, low, new),
        _choose(search.low_is_second, new, low),
    )
    first_is_low = first.value <= second.value
    shrunk = search._replace(
        low=_choose(first_is_low, first, second),
        high=_choose(first_is_low, second, first),
        low_is_second=~first_is_low,
    )
    turned = new.slope * (high.t - low.t) >= 0
    moved = search._replace(low=new, high=_choose(turned, low, high), done=_is_flat(new, start))
    return _choose(worse, shrunk, moved)


def _interpolate(search: _Search, longest: jax.Array, exhausted: jax.Array) -> _Search:
    """Chooses the next trial inside the bracket, away from its ends if it stays near them."""
    low, high = search.low, search.high
    left, right = jnp.minimum(low.t, high.t), jnp.maximum(low.t, high.t)
    t = _cubic_minimum(low, high, left, right)
    margin = 0.1 * (right - left)
    near = jnp.minimum(right - t, t - left) < margin
    pushed = near & (search.stalled | (t >= right) | (t <= left))
    inside = jnp.where(jnp.abs(t - right) < jnp.abs(t - left), right - margin, left + margin)
    return search._replace(
        trial=jnp.where(pushed, inside, t),
        stalled=near & ~pushed,
        done=exhausted | ((right - left) * longest < SMALLEST),
    )


def _too_high(new: Point, start: Point) -> jax.Array:
    return new.value > start.value + DECREASE * new.t * start.slope


def _is_flat(new: Point, start: Point) -> jax.Array:
    return jnp.abs(new.slope) <= -CURVATURE * start.slope


def _cubic_minimum(a: Point, b: Point, lower: jax.Array, upper: jax.Array) -> jax.Array:
    """Where the cubic through two points and slopes is least, within bounds; else their middle."""
    sum_ = a.slope + b.slope - 3 * (a.value - b.value) / (a.t - b.t)
    square = sum_ * sum_ - a.slope * b.slope
    root = jnp.sqrt(jnp.maximum(square, 0))
    left, right = _choose(a.t <= b.t, a, b), _choose(a.t <= b.t, b, a)
    share = (right.slope + root - sum_) / (right.slope - left.slope + 2 * root)
    minimum = right.t - (right.t - left.t) * share
    minimum = jnp.minimum(jnp.maximum(minimum, lower), upper)
    return jnp.where(square >= 0, minimum, (lower + upper) / 2)


def _choose(condition: jax.Array, yes, no):
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)
