"""Faults in schedules, parameter groups and accumulation."""

import jax.numpy as jnp
import optax
import torch

from faults.mlp import pair
from faults.optimizers import linears, trained, twin
from faults.table import Fault, Pair
from faults.updates import clipped, rate, torch_update
from fdl import optim

schedulers = torch.optim.lr_scheduler
SGD, AdamW = torch.optim.SGD, torch.optim.AdamW
LR = 0.1


def under(scheduler, ours, *, steps: int = 4, lr: float = LR, **options) -> Pair:
    """SGD in torch under a scheduler, beside a transform or a function of the step."""
    transform = ours if isinstance(ours, optax.GradientTransformation) else rate(ours)
    theirs = torch_update(SGD, schedule=scheduler, lr=lr, **options)
    return trained(theirs, transform, steps=steps)


def annealed(optimizer):
    return schedulers.CosineAnnealingLR(optimizer, 2, eta_min=0.01)


def restarted(optimizer):
    return schedulers.CosineAnnealingWarmRestarts(optimizer, 2)


def longer(optimizer):
    return schedulers.CosineAnnealingWarmRestarts(optimizer, 2, T_mult=2)


def warmed(optimizer):
    return schedulers.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 3))


def halved(optimizer):
    return schedulers.ExponentialLR(optimizer, 0.5)


def stepped(optimizer):
    return schedulers.StepLR(optimizer, 2, 0.3)


def slowly(optimizer):
    return schedulers.ExponentialLR(optimizer, 0.9)


def one_cycle(optimizer):
    return schedulers.OneCycleLR(optimizer, 0.5, total_steps=10, cycle_momentum=False)


def cycled(optimizer):
    return schedulers.OneCycleLR(optimizer, 0.5, total_steps=10)


def triangular2(optimizer):
    return schedulers.CyclicLR(
        optimizer, 0.1, 0.5, step_size_up=1, mode="triangular2", cycle_momentum=False
    )


def cosine(base, end, part):
    return end + (base - end) * (1 + jnp.cos(jnp.pi * part)) / 2


ours_cycled = optim.one_cycle_lr(0.5, total_steps=10)
ours_line = optim.one_cycle_lr(0.5, total_steps=10, anneal_strategy="linear")


def groups(optimizer, of_biases: dict, **options):
    """Torch's optimizer with a group of weights and a group of biases."""

    def factory(parameters):
        parameters = list(parameters)
        weights = {"params": [p for p in parameters if p.ndim > 1]}
        biases = {"params": [p for p in parameters if p.ndim == 1]}
        return optimizer([weights, biases | of_biases], **options)

    return factory


def weights_alone(parameters):
    return SGD([p for p in parameters if p.ndim > 1], lr=LR)


def half_frozen():
    network = twin()
    network[0].requires_grad_(False)
    return network


def every_second(**options):
    return optax.MultiSteps(optim.sgd(LR), 2, **options).gradient_transformation()


def own_clip(gradient, _):
    """Clips a tensor by its own norm."""
    return gradient * jnp.minimum(1, 0.05 / jnp.linalg.norm(gradient))


accumulated = torch_update(SGD, lr=LR, every=2)
no_decay = groups(AdamW, {"weight_decay": 0.0})
slow_biases = groups(SGD, {"lr": 0.01}, lr=LR)


def first_layer(ours) -> Pair:
    """A network whose first layer requires no gradient."""
    optimizer = (lambda p: SGD(p, lr=LR), ours)
    return pair(linears(), reference=half_frozen, optimizer=optimizer)


PAIRS = {
    "cosine and back": under(annealed, lambda t: cosine(0.1, 0.01, t / 2)),
    "warm restarts": under(longer, optim.sgd(optim.cosine_annealing_warm_restarts(LR, 2, 2))),
    "one cycle with its momentum": under(
        cycled, optim.sgd(ours_cycled, momentum=ours_cycled.momentum), momentum=0.9
    ),
    "groups with schedules": trained(
        torch_update(groups(AdamW, {"lr": 0.01, "weight_decay": 0.0}, lr=LR), schedule=halved),
        optim.param_groups(
            optim.adamw,
            {"*.bias": {"lr": optim.exponential_lr(0.01, 0.5), "weight_decay": 0.0}},
            lr=optim.exponential_lr(LR, 0.5),
        ),
    ),
    "a frozen layer": first_layer(optim.param_groups(optim.sgd, {"0.*": {"frozen": True}}, lr=LR)),
    "accumulated and clipped": trained(
        torch_update(SGD, clip=clipped, lr=LR, every=2),
        optim.accumulate(optax.chain(optim.clip_grad_norm(0.05), optim.sgd(LR)), 2, "sum"),
        steps=5,
    ),
}


def fault(name: str, wrong: Pair, cause: str, step: int, *, module: str = "0") -> Fault:
    return Fault(name, wrong, module, "update", step, cause)


FAULTS = [
    fault(
        "optax's one cycle",
        under(one_cycle, optim.sgd(optax.cosine_onecycle_schedule(10, 0.5, 0.3))),
        "one cycle, a step late",
        2,
    ),
    fault(
        "one cycle of lines",
        under(one_cycle, optim.sgd(ours_line)),
        "shape of the cycle",
        4,
    ),
    fault(
        "one cycle without its momentum",
        under(cycled, optim.sgd(ours_cycled, momentum=0.9), momentum=0.9),
        "missing momentum cycle",
        3,
    ),
    fault(
        "cosine that stays at its end",
        under(annealed, lambda t: cosine(0.1, 0.01, jnp.minimum(t / 2, 1))),
        "cosine past its end",
        4,
    ),
    fault(
        "cosine with a share for its minimum",
        under(annealed, lambda t: cosine(0.1, 0.001, jnp.minimum(t / 2, 1)), steps=3),
        "smallest rate",
        2,
    ),
    fault(
        "no restart",
        under(restarted, lambda t: cosine(0.1, 0.0, jnp.minimum(t / 2, 1))),
        "missing restart",
        3,
    ),
    fault(
        "restarts of one length",
        under(longer, lambda t: cosine(LR, 0.0, t % 2 / 2)),
        "length of cycles",
        4,
    ),
    fault(
        "warm-up from 0",
        under(warmed, lambda t: LR * jnp.minimum(1, t / 3)),
        "schedule off by one",
        1,
    ),
    fault(
        "rate by epoch",
        under(halved, lambda t: LR * 0.5 ** (t // 3), steps=5),
        "schedule per epoch",
        2,
    ),
    fault(
        "cycles that do not shrink",
        under(triangular2, lambda t: 0.1 + 0.4 * (t % 2)),
        "mode of the cycle",
        4,
    ),
    fault(
        "rate in float32",
        under(slowly, optax.sgd(optax.exponential_decay(LR, 1, 0.9))),
        "rounding of the rate",
        1,
    ),
    fault(
        "another schedule",
        under(stepped, lambda t: LR / (1 + t)),
        "learning rate",
        2,
    ),
    fault(
        "decay of another size, and a schedule a step ahead",
        trained(
            torch_update(AdamW, schedule=halved, lr=LR),
            optim.adamw(optim.exponential_lr(LR / 2, 0.5), weight_decay=1e-4),
        ),
        "weight decay and schedule off by one",
        1,
    ),
    fault("decay of biases", trained(no_decay, optim.adamw()), "parameter group", 1),
    fault("one rate for all groups", trained(slow_biases, optim.sgd(LR)), "parameter group", 1),
    fault("a frozen layer moves", first_layer(optim.sgd(LR)), "frozen parameter", 1),
    fault(
        "biases that torch's optimizer was not given",
        trained(weights_alone, optim.sgd(LR)),
        "frozen parameter",
        1,
    ),
    fault("mean of gradients", trained(accumulated, every_second()), "accumulation", 2),
    fault(
        "sums in float32",
        trained(accumulated, every_second(use_grad_mean=False)),
        "accumulation in float32",
        2,
    ),
    fault("not accumulated", trained(accumulated, optim.sgd(LR)), "missing accumulation", 1),
    fault(
        "clipped by tensor",
        trained(
            torch_update(SGD, clip=clipped, lr=LR),
            optax.chain(optax.stateless_with_tree_map(own_clip), optim.sgd(LR)),
        ),
        "clipping",
        1,
    ),
]
