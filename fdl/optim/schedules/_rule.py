"""What all schedules share: a scheduler of torch as arithmetic on the learning rate.

Torch's schedulers rewrite ``group["lr"]`` from its present value, so that two of them on one
optimizer act on each other's results. A :class:`Rule` says what one of them does to the rate: when
it is made, when :func:`sequential_lr` switches to it, and at each later step. A lone schedule, a
sequence and a chain are all evaluated from these.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from fdl.optim._lr import CountSchedule, check_non_negative

Number = float | jax.Array
Group = dict[str, Any]
"""Torch's ``param_group`` while schedulers are made for it: ``lr``, ``initial_lr`` and others."""
Written = Callable[[jax.Array], tuple[jax.Array, jax.Array]]
"""From a step to the last one, up to it, at which the group's momentum was written, and to what."""


class Rule(NamedTuple):
    """What one scheduler does to the learning rate.

    Attributes:
        begin: ``lr -> lr`` when the scheduler is made, which is its step 0.
        enter: ``lr -> lr`` when a sequence switches to it, which is its step 0 again.
        step: ``(lr, step) -> lr``, from one step to the next, `step` being 1 or more.
        run: ``(lr, step) -> lr``, all steps from 1 to `step` at once.
        kind: `step` and `run` multiply the rate by a factor ("scaling"), do not look at it
            ("absolute"), or neither ("other").
        momentum: what the scheduler writes to the group's momentum; None if it leaves it.
    """

    begin: Callable[[Number], Number]
    enter: Callable[[Number], Number]
    step: Callable[[Number, jax.Array], Number]
    run: Callable[[Number, jax.Array], Number]
    kind: Literal["scaling", "absolute", "other"]
    momentum: Written | None = None


@dataclass(frozen=True)
class Schedule(CountSchedule):
    """A learning rate as a pure function of the step, an Optax schedule.

    Call it with the count of updates so far, an integer or a float, inside jit or outside. It
    computes in JAX's default float, also from Optax's int32 count. From an integer it is exact at
    any step; a float32 cannot hold a count above 2**24.

    Attributes:
        lr: the learning rate torch's optimizer is made with; None where the scheduler replaces it.
        bind: makes the scheduler for a group and returns its rule.
        members: the schedules it is composed of.
    """

    lr: Number | None
    bind: Callable[[Group], Rule]
    members: tuple["Schedule", ...] = ()

    def __call__(self, step: ArrayLike) -> jax.Array:
        """The learning rate of update number `step`, counted from 0."""
        lr, rule = begun(self)
        return default_float(rule.run(lr, as_count(step)))

    @property
    def momentum(self) -> "Momentum":
        """The momentum that goes with the learning rate, a schedule for the optimizer's.

        Where several members of a composition cycle it, what the last of them wrote, as in torch.

        Raises:
            AttributeError: if no member cycles a momentum.
        """
        written_momentum(self)
        return Momentum(self)


@dataclass(frozen=True)
class Momentum(CountSchedule):
    """The momentum of a schedule as a pure function of the step, an Optax schedule.

    Attributes:
        schedule: whose momentum it is.
    """

    schedule: Schedule

    def __call__(self, step: ArrayLike) -> jax.Array:
        """The momentum, or Adam's first beta, of update number `step`, counted from 0."""
        _, value = written_momentum(self.schedule)(as_count(step))
        return default_float(value)


def written_momentum(schedule: Schedule) -> Written:
    """What a schedule writes to the momentum; AttributeError if nothing."""
    _, rule = begun(schedule)
    if rule.momentum is None:
        raise AttributeError(
            "momentum: expected one_cycle_lr or cyclic_lr, or a composition of one, made with "
            "cycle_momentum=True, got a schedule of the learning rate alone. Pass the optimizer "
            "a number."
        )
    return rule.momentum


def begun(schedule: Schedule) -> tuple[Number, Rule]:
    """The learning rate of step 0 and the rule of the later ones."""
    group: Group = {"lr": 0.0 if schedule.lr is None else schedule.lr}
    rule = made_for(group, schedule)
    return group["lr"], rule


def made_for(group: Group, schedule: Schedule) -> Rule:
    """Makes a scheduler for a group, which takes its step 0."""
    rule = schedule.bind(group)
    group["lr"] = rule.begin(group["lr"])
    return rule


def initial_lr(group: Group) -> Number:
    """The rate the first scheduler found, as torch keeps it."""
    return group.setdefault("initial_lr", group["lr"])


def scheduled(name: str, lr: Number, bind: Callable[[Group], Rule]) -> Schedule:
    """A schedule from a base learning rate."""
    check_non_negative(name, lr=lr)
    return Schedule(default_float(lr) if isinstance(lr, jax.Array) else lr, bind)


def scaling(
    name: str,
    lr: Number,
    *,
    ratio: Callable[[jax.Array], Number],
    growth: Callable[[jax.Array], Number] | None = None,
    first: float = 1.0,
    entered: Callable[[Number, Number], Number] | None = None,
) -> Schedule:
    """A schedule that multiplies the learning rate.

    Args:
        name: of the factory, for errors.
        lr: base learning rate.
        ratio: the factor of a step.
        growth: the product of `ratio` from step 1; None multiplies step by step.
        first: the factor of step 0.
        entered: the rate where a sequence switches to it, from the base rate and the present one;
            None is the base rate times `first`.
    """

    def bind(group: Group) -> Rule:
        base = initial_lr(group)

        def step(lr: Number, step: jax.Array) -> Number:
            return lr * ratio(step)

        return Rule(
            begin=lambda lr: lr * first,
            enter=lambda lr: entered(base, lr) if entered else base * first,
            step=step,
            run=replayed(step) if growth is None else lambda lr, step: lr * growth(step),
            kind="scaling",
        )

    return scheduled(name, lr, bind)


def absolute(value: Callable[[jax.Array], Number]) -> Rule:
    """The rule of a scheduler that sets the learning rate whatever it was."""

    def start(lr: Number) -> Number:
        del lr
        return value(as_count(0))

    def later(lr: Number, step: jax.Array) -> Number:
        return jnp.where(step > 0, value(step), lr)

    return Rule(start, start, lambda lr, step: value(step), later, "absolute")


def cycling(group: Group, rule: Rule, momentum: Callable[[jax.Array], jax.Array]) -> Rule:
    """A rule that writes a momentum too, at each step and when it is made."""
    group["momentum"] = momentum(as_count(0))
    return rule._replace(momentum=lambda step: (step, momentum(step)))


def replayed(step: Callable[[Number, jax.Array], Number]) -> Callable[[Number, jax.Array], Number]:
    """`run` from `step` alone: a loop over the steps."""

    def run(lr: Number, count: jax.Array) -> Number:
        def body(i: jax.Array, lr: jax.Array) -> jax.Array:
            return default_float(step(lr, i))

        return jax.lax.fori_loop(1, count.astype(int) + 1, body, default_float(lr))

    return run


def default_float(value: Any) -> jax.Array:
    """An array of JAX's default float: float64 with x64 on."""
    return jnp.asarray(value, jnp.result_type(float))


def as_count(step: Any) -> jax.Array:
    """A step as an array: an integer of JAX's default width, or a float where it is one."""
    step = jnp.asarray(step)
    kind = int if jnp.issubdtype(step.dtype, jnp.integer) else float
    return jnp.asarray(step, jnp.result_type(kind))


def power(base: Number, exponent: jax.Array) -> jax.Array:
    """Base to the exponent, a count, to the last digits in float32 too.

    It is the exponential of ``exponent * log(base)``, whose rounding would be magnified: the
    logarithm is cut after 12 bits and the exponent at 4096, so that their products are exact, and
    the products are summed with their remainders.
    """
    if isinstance(base, jax.Array) or base <= 0:
        return jnp.power(default_float(base), default_float(exponent))
    log = math.log(base)
    mantissa, scale = math.frexp(log)
    coarse = math.ldexp(round(4096 * mantissa), scale - 12)
    rest = exponent % 4096
    total, lost = _sum(coarse * default_float(exponent - rest), coarse * default_float(rest))
    total, more = _sum(total, (log - coarse) * default_float(exponent))
    return jnp.exp(total) * (1 + (lost + more))


def _sum(larger: jax.Array, smaller: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The sum and what rounding took from it."""
    total = larger + smaller
    return total, (larger - total) + smaller


def half_cosine(left: jax.Array) -> jax.Array:
    r"""From 1 to 0 along half a cosine wave, :math:`(1 - \cos(\pi x)) / 2` of the part left.

    As the square of a sine it keeps its digits near 0.
    """
    return jnp.square(jnp.sin(math.pi / 2 * left))


def traceable(name: str, argument: str, function: Any) -> Callable[[jax.Array], jax.Array]:
    """A user's function of the step, checked.

    Raises:
        TypeError: if it is no function, or cannot be traced.
    """
    if not callable(function):
        raise TypeError(
            f"{name}: {argument}: expected a function of the step, got {type(function).__name__}."
        )

    def called(step: jax.Array) -> jax.Array:
        return default_float(function(default_float(step)))

    try:
        jax.eval_shape(called, default_float(0))
    except TypeError as error:
        raise TypeError(
            f"{name}: {argument}: expected a function that JAX can trace, got one that needs the "
            f"step as a Python number. Wrap it: fdl.optim.tabulate({argument}, steps)."
        ) from error
    return called


LARGEST_COUNT = 2**30
"""What a count of steps in an argument stays below: twice it would not be an int32."""


def check_count(name: str, *, least: int = 0, **values: Any) -> None:
    """Raises ValueError for what is not an integer from `least` to below 2**30."""
    for argument, value in values.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not least <= value < LARGEST_COUNT:
            raise ValueError(
                f"{name}: {argument}: expected an integer from {least} to below 2**30, "
                f"got {value!r}."
            )


def check_choice(name: str, argument: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raises ValueError for what is not among the choices."""
    if value not in choices:
        listed = " or ".join(map(repr, choices))
        raise ValueError(f"{name}: {argument}: expected {listed}, got {value!r}.")
