"""The rules by the names of torch's classes."""

from fdl.parity.causes._updates import adams, descents, matrices
from fdl.parity.causes._updates.rule import EARLY, INSIDE, OUTSIDE, Rule

_OUTSIDE, _INSIDE, _EARLY = ({"place": place} for place in (OUTSIDE, INSIDE, EARLY))
_DECOUPLED = {"decoupled_weight_decay": True}
_MOMENTS = {"betas": (0.9, 0.999), "eps": 1e-8}
_BUFFER = {"momentum": 0.0, "dampening": 0.0, "nesterov": False}
_MEAN = {"alpha": 0.99, "eps": 1e-8, "momentum": 0.0, "centered": False}
_SUM = {"lr_decay": 0.0, "initial_accumulator_value": 0.0, "eps": 1e-10}
_ITERATION = {"ns_coefficients": (3.4445, -4.775, 2.0315), "eps": 1e-7, "ns_steps": 5}

KINDS = {
    "SGD": Rule(descents.sgd, {}, _BUFFER),
    "ASGD": Rule(descents.asgd, {}, {"lambd": 1e-4, "alpha": 0.75}),
    "Rprop": Rule(descents.rprop, {}, {"etas": (0.5, 1.2), "step_sizes": (1e-6, 50.0)}),
    "RMSprop": Rule(descents.rmsprop, _OUTSIDE, _MEAN),
    "Adagrad": Rule(descents.adagrad, _OUTSIDE, _SUM),
    "Adadelta": Rule(descents.adadelta, _INSIDE, {"rho": 0.9, "eps": 1e-6}),
    "Adam": Rule(adams.adam, _OUTSIDE, {**_MOMENTS, "amsgrad": False}),
    "AdamW": Rule(adams.adam, _OUTSIDE | _DECOUPLED, {**_MOMENTS, "amsgrad": False}),
    "NAdam": Rule(adams.nadam, _OUTSIDE, {**_MOMENTS, "momentum_decay": 4e-3}),
    "RAdam": Rule(adams.radam, _EARLY, _MOMENTS),
    "Adamax": Rule(adams.adamax, _EARLY, _MOMENTS),
    "SparseAdam": Rule(adams.sparse_adam, _EARLY, _MOMENTS),
    "Adafactor": Rule(
        matrices.adafactor, _DECOUPLED, {"beta2_decay": -0.8, "eps": (None, 1e-3), "d": 1.0}
    ),
    "Muon": Rule(matrices.muon, _DECOUPLED, {"momentum": 0.95, "nesterov": True, **_ITERATION}),
}

MOMENTS = ("Adam", "AdamW", "NAdam", "RAdam", "Adamax", "SparseAdam")
"""Those that correct the bias of running means as Adam does."""

ALIKE = ("SGD", "RMSprop", "Adagrad", "Adam", "AdamW", "NAdam", "RAdam", "Adamax")
"""Those that a port may have put in each other's place: their options fit each other."""
