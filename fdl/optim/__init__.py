"""``torch.optim`` as Optax transforms: torch's arguments, defaults and arithmetic."""

from fdl.optim.absent import SkipAbsentState, skip_absent
from fdl.optim.accumulation import AccumulateState, accumulate
from fdl.optim.adadelta import AdadeltaState, adadelta
from fdl.optim.adafactor import AdafactorState, adafactor
from fdl.optim.adagrad import AdagradState, adagrad
from fdl.optim.adam import AdamState, adam, adamw
from fdl.optim.adamax import AdamaxState, adamax
from fdl.optim.applying import apply_gradients
from fdl.optim.asgd import ASGDState, asgd
from fdl.optim.averaging import Averaging, AveragingState, averaged_model, ema, swa
from fdl.optim.clipping import (
    clip_grad_norm,
    clip_grad_value,
    clip_grads_with_norm,
    get_total_norm,
)
from fdl.optim.grad_scaler import GradScalerState, grad_scaler, loss_scale
from fdl.optim.groups import param_groups
from fdl.optim.lbfgs import LBFGSState, lbfgs
from fdl.optim.mixed_precision import MixedPrecisionState, mixed_precision
from fdl.optim.muon import MuonState, muon
from fdl.optim.nadam import NAdamState, nadam
from fdl.optim.radam import RAdamState, radam
from fdl.optim.rmsprop import RMSpropState, rmsprop
from fdl.optim.rprop import RpropState, rprop
from fdl.optim.schedules import (
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
    per_epoch,
    polynomial_lr,
    reduce_lr_on_plateau,
    sequential_lr,
    step_lr,
    swa_lr,
    tabulate,
)
from fdl.optim.sgd import SGDState, sgd
from fdl.optim.sparse_adam import SparseAdamState, sparse_adam
from fdl.optim.update_bn import update_bn

__all__ = [
    "ASGDState",
    "AccumulateState",
    "AdadeltaState",
    "AdafactorState",
    "AdagradState",
    "AdamState",
    "AdamaxState",
    "Averaging",
    "AveragingState",
    "GradScalerState",
    "LBFGSState",
    "MixedPrecisionState",
    "MuonState",
    "NAdamState",
    "Plateau",
    "PlateauState",
    "RAdamState",
    "RMSpropState",
    "RpropState",
    "SGDState",
    "Schedule",
    "SkipAbsentState",
    "SparseAdamState",
    "accumulate",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "apply_gradients",
    "asgd",
    "averaged_model",
    "chained_scheduler",
    "clip_grad_norm",
    "clip_grad_value",
    "clip_grads_with_norm",
    "constant_lr",
    "cosine_annealing_lr",
    "cosine_annealing_warm_restarts",
    "cyclic_lr",
    "ema",
    "exponential_lr",
    "get_total_norm",
    "grad_scaler",
    "lambda_lr",
    "lbfgs",
    "linear_lr",
    "loss_scale",
    "mixed_precision",
    "multi_step_lr",
    "multiplicative_lr",
    "muon",
    "nadam",
    "one_cycle_lr",
    "param_groups",
    "per_epoch",
    "polynomial_lr",
    "radam",
    "reduce_lr_on_plateau",
    "rmsprop",
    "rprop",
    "sequential_lr",
    "sgd",
    "skip_absent",
    "sparse_adam",
    "step_lr",
    "swa",
    "swa_lr",
    "tabulate",
    "update_bn",
]
