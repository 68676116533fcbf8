"""What ports make of an optimizer's options and of its rule: the hypotheses, by torch's class."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from fdl.parity.causes._updates.kinds import MOMENTS
from fdl.parity.causes._updates.rule import EARLY, INSIDE, OUTSIDE, Options

DECAYS = (0.0, 1e-4, 1e-2, 5e-4, 1e-3, 1e-5, 5e-5, 1e-1)
EPSILONS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-10, 1e-3, 1e-15, 1e-30, 0.0)
BETAS = (
    *((0.9, 0.999), (0.9, 0.99), (0.9, 0.98), (0.9, 0.95)),
    *((0.95, 0.999), (0.8, 0.999), (0.5, 0.999)),
)
MOMENTA = (0.0, 0.9, 0.99, 0.95, 0.5)
MEANS = (0.9, 0.99, 0.95, 0.999)


class Change(NamedTuple):
    """Options that a hypothesis puts in place of torch's."""

    name: str
    words: str
    options: dict[str, Any]


Changes = Iterator[Change]


def changes(kind: str, given: Sequence[Options]) -> list[Change]:
    """The hypotheses about an optimizer of torch.

    Args:
        kind: name of its class.
        given: torch's options of every step, with those that the class implies.
    """
    first = given[0]
    found = [*_cycles(given), *_decays(kind, first), *OWN[kind](first)]
    if kind in MOMENTS:
        found += _moments(first)
    upwards = Change("sign", "the gradient is followed upwards", {"maximize": True})
    if first.get("maximize"):
        upwards = Change("sign", "the gradient is followed downwards", {"maximize": False})
    return [*found, upwards]


def _others(name: str, field: str, values: Iterable[Any], first: Options) -> Changes:
    """Another value of an option."""
    own = first[field]
    for value in values:
        if value != (tuple(own) if isinstance(own, list) else own):
            yield Change(name, f"{_plain(value)} instead of {_plain(own)}", {field: value})


def _plain(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_plain, value))})"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _decays(kind: str, first: Options) -> Changes:
    name, decay = "weight decay", first.get("weight_decay")
    if decay is None:
        return
    decoupled = bool(first.get("decoupled_weight_decay"))
    this, other = ("decoupled", "coupled") if decoupled else ("coupled", "decoupled")
    if decay:
        words = f"{other} instead of {this}"
        yield Change(name, words, {"decoupled_weight_decay": not decoupled})
    if decay and decoupled:
        yield Change(name, "not multiplied by the learning rate", {"full_decay": True})
    for change in _others(name, "weight_decay", DECAYS, first):
        yield change
        if kind != "SGD":
            words = f"{change.words}, and {other}"
            turned = {"decoupled_weight_decay": not decoupled}
            yield Change(name, words, change.options | turned)


def _cycles(given: Sequence[Options]) -> Changes:
    """A momentum that stays where torch's scheduler cycles it."""
    name = "missing momentum cycle"
    for field in ("momentum", "betas"):
        values = [_hashable(options[field]) for options in given if field in options]
        if len(set(values)) > 1:
            usual = BETAS if field == "betas" else MOMENTA
            for value in dict.fromkeys([values[0], min(values), max(values), *usual]):
                yield Change(name, f"{field} stays {_plain(value)}", {field: value})


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _epsilons(first: Options, *places: str) -> Changes:
    """Epsilon at another place, or of another size."""
    words = {
        INSIDE: "{:g} is added inside the root",
        OUTSIDE: "{:g} is added outside the root",
        EARLY: "{:g} is added before the bias of the second moment is corrected",
    }
    names = {INSIDE: "epsilon inside the root", OUTSIDE: "epsilon outside the root"}
    eps, own = first["eps"], first["place"]
    for place in places:
        if place != own:
            name = names.get(place, "epsilon inside the root")
            if own == EARLY and place == OUTSIDE:
                name = "epsilon after the bias correction"
            for value in dict.fromkeys((eps, eps**2) if place == INSIDE else (eps,)):
                changed = {"place": place, "eps": value}
                yield Change(name, words[place].format(value), changed)
    yield from _others("epsilon", "eps", EPSILONS, first)


def _moments(first: Options) -> Changes:
    yield Change("bias correction", "the moments' bias is not corrected", {"corrected": False})
    turned = tuple(first["betas"])[::-1]
    yield Change("betas", "exchanged", {"betas": turned})
    yield from _others("betas", "betas", BETAS, first)


def _momenta(first: Options) -> Changes:
    if first["momentum"]:
        words = "the learning rate is multiplied into the buffer"
        yield Change("momentum", words, {"rate_inside": True})
    yield from _others("momentum", "momentum", MOMENTA, first)


def _sgd(first: Options) -> Changes:
    if first["momentum"]:
        words = "off where torch has it on" if first["nesterov"] else "on where torch has it off"
        yield Change("Nesterov", words, {"nesterov": not first["nesterov"]})
        yield Change("momentum", "the buffer is an average", {"averaged": True})
    for dampening in (0.0, first["momentum"], 0.1, 0.5):
        if dampening != first["dampening"]:
            words = f"dampening {dampening:g} instead of {first['dampening']:g}"
            yield Change("dampening", words, {"dampening": dampening})
    yield from _momenta(first)


def _adam(first: Options) -> Changes:
    yield from _epsilons(first, INSIDE, EARLY)
    if first["amsgrad"]:
        words = "the maximum is of second moments whose bias is corrected"
        yield Change("amsgrad", words, {"late_maximum": True})
    words = "on where torch has it off or the reverse"
    yield Change("amsgrad", words, {"amsgrad": not first["amsgrad"]})


def _nadam(first: Options) -> Changes:
    words = "it is the first beta from the start; torch's grows to it"
    yield Change("momentum schedule", words, {"scheduled": False})
    yield from _others("momentum schedule", "momentum_decay", (0.0, 4e-3), first)
    yield from _epsilons(first, INSIDE, EARLY)


def _radam(first: Options) -> Changes:
    yield from _epsilons(first, OUTSIDE, INSIDE)
    words = "no step until the second moment is used; torch steps by the first"
    yield Change("rectification", words, {"waits": True})
    yield Change("rectification", "from a length of 4; torch's is 5", {"threshold": 4.0})
    words = "none: the second moment is never used"
    yield Change("rectification", words, {"threshold": float("inf")})


def _adamax(first: Options) -> Changes:
    if first["eps"]:
        words = "0: torch adds it to every gradient's size"
        yield Change("missing epsilon", words, {"eps": 0.0})
    words = "it is added to the largest size; torch adds it to the gradient's before the maximum"
    yield Change("epsilon after the maximum", words, {"place": OUTSIDE})
    yield from _others("epsilon", "eps", EPSILONS, first)


def _sparse_adam(first: Options) -> Changes:
    name, words = "rows without gradient", "rows that are not in the batch are updated too"
    yield Change(name, words, {"dense": True})
    yield Change(name, f"{words}, by dense Adam", {"dense": True, "place": OUTSIDE})
    yield from _epsilons(first, OUTSIDE, INSIDE)


def _rmsprop(first: Options) -> Changes:
    yield from _epsilons(first, INSIDE)
    yield from _others("decay of the mean square", "alpha", MEANS, first)
    defaults = {"alpha": 0.9, "place": INSIDE}
    yield Change("Optax's defaults", "a decay of 0.9, and epsilon inside the root", defaults)
    words = "a decay of 0.9, epsilon inside the root, and a mean square that starts at 1"
    yield Change("TensorFlow's defaults", words, defaults | {"initial": 1.0})
    words = "1 instead of 0"
    yield Change("initial mean square", words, {"initial": 1.0})
    yield Change("bias correction", "torch has none", {"corrected": True})
    words = "off where torch has it on or the reverse"
    yield Change("centring", words, {"centered": not first["centered"]})
    yield from _momenta(first)


def _adagrad(first: Options) -> Changes:
    yield from _epsilons(first, INSIDE)
    own, values = first["initial_accumulator_value"], (0.0, 0.1, 1.0)
    for start in values:
        name, words = "initial accumulator", f"{start:g} instead of {own:g}"
        changed = {"initial_accumulator_value": start}
        if start != own:
            yield Change(name, words, changed)
    defaults = {"initial_accumulator_value": 0.1, "eps": 1e-7, "place": INSIDE}
    words = "an accumulator that starts at 0.1, and an epsilon of 1e-07 inside the root"
    yield Change("Optax's defaults", words, defaults)
    if first["lr_decay"]:
        yield Change("falling rate", "lr_decay is missing", {"lr_decay": 0.0})
        yield Change("falling rate", "counted from step 1, torch's from 0", {"counted": 0})


def _adadelta(first: Options) -> Changes:
    yield from _epsilons(first, OUTSIDE)
    yield from _others("decay of the mean square", "rho", MEANS, first)


def _rprop(first: Options) -> Changes:
    words = "every step is made one step late"
    yield Change("delayed step", words, {"delayed": True})
    words = "a step is made where the gradient's sign turns; torch waits"
    yield Change("turning signs", words, {"keeps": True})
    yield from _others("etas", "etas", ((0.5, 1.2), (0.5, 1.05), (0.9, 1.1)), first)
    yield from _others("step sizes", "step_sizes", ((1e-6, 50), (0.0, float("inf"))), first)


def _asgd(first: Options) -> Changes:
    prompt = {"prompt": True}
    words = "a rate acts in the step that it is given for; in torch one step late"
    yield Change("late rate", words, prompt)
    yield Change("decay of ASGD", "lambd is 0", {"lambd": 0.0})
    yield Change("decay of ASGD", "lambd is 0, and rates are prompt", {"lambd": 0.0} | prompt)
    yield Change("falling rate", "the rate does not fall", {"alpha": 0.0})
    words = "the rate does not fall, and changes act at once"
    yield Change("falling rate", words, {"alpha": 0.0} | prompt)
    yield from _others("decay of ASGD", "lambd", (1e-4, 1e-3, 1e-2), first)
    yield from _others("falling rate", "alpha", (0.75, 1.0), first)


def _adafactor(first: Options) -> Changes:
    whole = {"factored": False}
    yield Change("missing factors", "the second moment is not factored", whole)
    for axes in combinations(range(-4, 0), 2):
        words = f"the factors are of axes {axes[0]} and {axes[1]}; torch's of -2 and -1"
        yield Change("factored axes", words, {"axes": axes})
    words = "the rate is not capped by the count of steps"
    yield Change("relative step", words, {"capped": False})
    words = "the step is not multiplied by the parameter's size"
    yield Change("relative step", words, {"sized": False})
    yield Change("clipping of the step", "the step is not clipped", {"clipped": False})
    yield from _others("decay of the mean square", "beta2_decay", (-0.8, -0.5, -1.0), first)
    eps = first["eps"]
    for least, share in ((None, eps[1]), (1e-30, eps[1]), (eps[0], 1e-2), (1e-15, 1e-3)):
        yield from _others("epsilon", "eps", [(least, share)], first)


def _muon(first: Options) -> Changes:
    words = "off where torch has it on" if first["nesterov"] else "on where torch has it off"
    yield Change("Nesterov", words, {"nesterov": not first["nesterov"]})
    words = "the matrix is (in, out); torch's is (out, in), and the scale depends on it"
    yield Change("transposed matrix", words, {"turned": True})
    adjusted = "match_rms_adamw" if first["adjust_lr_fn"] != "match_rms_adamw" else None
    yield Change("scale", f"adjust_lr_fn {adjusted!r}", {"adjust_lr_fn": adjusted})
    yield Change("momentum", "the buffer is a sum, not an average", {"summed": True})
    yield from _others("momentum", "momentum", MOMENTA, first)
    yield Change("rounding", "the iteration is not rounded to bfloat16", {"precise": True})


OWN: dict[str, Callable[[Options], Changes]] = {
    "SGD": _sgd,
    "ASGD": _asgd,
    "Rprop": _rprop,
    "RMSprop": _rmsprop,
    "Adagrad": _adagrad,
    "Adadelta": _adadelta,
    "Adam": _adam,
    "AdamW": _adam,
    "NAdam": _nadam,
    "RAdam": _radam,
    "Adamax": _adamax,
    "SparseAdam": _sparse_adam,
    "Adafactor": _adafactor,
    "Muon": _muon,
}
