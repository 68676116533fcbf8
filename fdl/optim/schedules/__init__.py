"""``torch.optim.lr_scheduler`` as pure functions of the step: Optax schedules."""

from fdl.optim.schedules._rule import Schedule
from fdl.optim.schedules.annealing import (
    cosine_annealing_lr,
    cosine_annealing_warm_restarts,
    lambda_lr,
    swa_lr,
)
from fdl.optim.schedules.compositions import chained_scheduler, sequential_lr
from fdl.optim.schedules.cycles import cyclic_lr, one_cycle_lr
from fdl.optim.schedules.epochs import per_epoch
from fdl.optim.schedules.plateau import Plateau, PlateauState, reduce_lr_on_plateau
from fdl.optim.schedules.products import (
    constant_lr,
    exponential_lr,
    linear_lr,
    multi_step_lr,
    multiplicative_lr,
    polynomial_lr,
    step_lr,
)
from fdl.optim.schedules.table import tabulate

__all__ = [
    "Plateau",
    "PlateauState",
    "Schedule",
    "chained_scheduler",
    "constant_lr",
    "cosine_annealing_lr",
    "cosine_annealing_warm_restarts",
    "cyclic_lr",
    "exponential_lr",
    "lambda_lr",
    "linear_lr",
    "multi_step_lr",
    "multiplicative_lr",
    "one_cycle_lr",
    "per_epoch",
    "polynomial_lr",
    "reduce_lr_on_plateau",
    "sequential_lr",
    "step_lr",
    "swa_lr",
    "tabulate",
]
