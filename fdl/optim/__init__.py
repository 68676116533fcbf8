"""``torch.optim`` as Optax transforms: torch's arguments, defaults and arithmetic."""

from fdl.optim.adadelta import AdadeltaState, adadelta
from fdl.optim.adafactor import AdafactorState, adafactor
from fdl.optim.adagrad import AdagradState, adagrad
from fdl.optim.adam import AdamState, adam, adamw
from fdl.optim.adamax import AdamaxState, adamax
from fdl.optim.asgd import ASGDState, asgd
from fdl.optim.lbfgs import LBFGSState, lbfgs
from fdl.optim.muon import MuonState, muon
from fdl.optim.nadam import NAdamState, nadam
from fdl.optim.radam import RAdamState, radam
from fdl.optim.rmsprop import RMSpropState, rmsprop
from fdl.optim.rprop import RpropState, rprop
from fdl.optim.schedules import (
    CycleSchedule,
    Plateau,
    PlateauState,
    Schedule,
    chained_scheduler,
    constant_lr,
    cosine_annealing_lr,
    cosine_annealing_warm_restarts,
    cyclic_lr,
    exponential_lr,
    lambda_lr,
    linear_lr,
    multi_step_lr,
    multiplicative_lr,
    one_cycle_lr,
    polynomial_lr,
    reduce_lr_on_plateau,
    sequential_lr,
    step_lr,
    swa_lr,
    tabulate,
)
from fdl.optim.sgd import SGDState, sgd
from fdl.optim.sparse_adam import SparseAdamState, sparse_adam

__all__ = [
    "ASGDState",
    "AdadeltaState",
    "AdafactorState",
    "AdagradState",
    "AdamState",
    "AdamaxState",
    "CycleSchedule",
    "LBFGSState",
    "MuonState",
    "NAdamState",
    "Plateau",
    "PlateauState",
    "RAdamState",
    "RMSpropState",
    "RpropState",
    "SGDState",
    "Schedule",
    "SparseAdamState",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "asgd",
    "chained_scheduler",
    "constant_lr",
    "cosine_annealing_lr",
    "cosine_annealing_warm_restarts",
    "cyclic_lr",
    "exponential_lr",
    "lambda_lr",
    "lbfgs",
    "linear_lr",
    "multi_step_lr",
    "multiplicative_lr",
    "muon",
    "nadam",
    "one_cycle_lr",
    "polynomial_lr",
    "radam",
    "reduce_lr_on_plateau",
    "rmsprop",
    "rprop",
    "sequential_lr",
    "sgd",
    "sparse_adam",
    "step_lr",
    "swa_lr",
    "tabulate",
]
