"""Training: one state, one jitted step, and a loop around them."""

from fdl.train.fit import Fit, fit
from fdl.train.metrics import accuracy
from fdl.train.objective import LossFn, supervised
from fdl.train.predict import evaluate, predict
from fdl.train.step import State, Step, init_state, make_step

__all__ = [
    "Fit",
    "LossFn",
    "State",
    "Step",
    "accuracy",
    "evaluate",
    "fit",
    "init_state",
    "make_step",
    "predict",
    "supervised",
]
