"""Begins a run in PyTorch, goes on with it in JAX under one jit, and ends it in PyTorch.

Shows `fdl.interop.optimizer_from_torch` and its way back: the averages of AdamW, the count of
steps, and a learning rate and momentum in mid-cycle go along with the weights. A second run stays
in PyTorch from beginning to end, on the same batches of handwritten digits; at the end the two
are compared.

Run: python examples/continue_in_jax.py (needs PyTorch)
"""

import argparse
from pathlib import Path

import jax
import numpy as np
import torch
from torch import nn

import fdl
import fdl.functional as F
from fdl import interop

BATCH = 64
LARGEST = 0.01  # learning rate


def torch_side(weights: dict[str, torch.Tensor], steps: int):
    """Makes network, optimizer and scheduler, as any program in PyTorch does."""
    network = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    network.load_state_dict(weights)
    optimizer = torch.optim.AdamW(network.named_parameters())
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, LARGEST, total_steps=steps)
    return network, optimizer, scheduler


def train_in_torch(network, optimizer, scheduler, batches) -> None:
    """Takes a step for each batch."""
    for batch in batches:
        pixels, labels = map(torch.from_numpy, batch)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(pixels), labels).backward()
        optimizer.step()
        scheduler.step()


def continue_in_jax(network, optimizer, scheduler, batches) -> None:
    """Goes on from torch's state, and leaves the new one there."""
    model = fdl.models.mlp([64, 128, 10])
    schedule = fdl.optim.one_cycle_lr(LARGEST, total_steps=scheduler.total_steps)
    ours = fdl.optim.adamw(schedule, betas=(schedule.momentum, 0.999))
    step = fdl.train.make_step(fdl.train.supervised(model, F.cross_entropy), ours)

    params, buffers = interop.from_torch(network, like=model)
    state = fdl.train.init_state(params, buffers, ours, key=jax.random.key(0))
    state = state._replace(
        opt_state=interop.optimizer_from_torch(optimizer, like=ours, params=params)
    )
    for batch in batches:
        state, _ = step(state, batch)

    steps = interop.scheduler_from_torch(scheduler) + len(batches)
    network.load_state_dict(interop.to_torch(state.params, state.buffers))
    optimizer.load_state_dict(
        interop.optimizer_to_torch(state.opt_state, like=optimizer, scheduler=scheduler)
    )
    scheduler.load_state_dict(interop.scheduler_to_torch(steps, like=scheduler))


def parts_of(train: fdl.data.Dataset, epochs: int) -> list[list]:
    """The batches of each of the three parts."""
    data = train.images.reshape(-1, 64), train.labels.astype(np.int64)
    seeds = [range(part * epochs, (part + 1) * epochs) for part in range(3)]
    return [
        [
            batch
            for seed in part
            for batch in fdl.data.batches(data, BATCH, seed=seed, drop_last=True)
        ]
        for part in seeds
    ]


def compare(stays, moves, test: fdl.data.Dataset) -> None:
    """Prints how both runs ended, and how far apart."""
    tested = torch.from_numpy(test.images.reshape(-1, 64))
    for name, (network, optimizer, _) in {"stays in PyTorch": stays, "goes over": moves}.items():
        right = (network(tested).argmax(-1).numpy() == test.labels).mean()
        group = optimizer.param_groups[0]
        rate, momentum = group["lr"], group["betas"][0]
        print(f"  {name:<17} {right:.2%}   (lr {rate:.3e}, momentum {momentum:.3f})")
    difference = max(
        (one - other).abs().max().item()
        for one, other in zip(stays[0].parameters(), moves[0].parameters(), strict=True)
    )
    size = max(weight.abs().max().item() for weight in stays[0].parameters())
    print(f"largest difference of a weight  {difference:.1e} (the largest weight is {size:.2f})")


def main() -> None:
    """Trains both runs, tests them once, and compares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/examples/continue_in_jax"))
    parser.add_argument("--epochs", type=int, default=5, help="of each of the three parts")
    arguments = parser.parse_args()

    train, _, test = fdl.data.split(fdl.data.digits(), validation=0.15, test=0.2, seed=0)
    parts = parts_of(train, arguments.epochs)
    steps = sum(map(len, parts))
    weights = interop.to_torch(*fdl.models.mlp([64, 128, 10]).init(jax.random.key(0)))

    stays = torch_side(weights, steps)
    train_in_torch(*stays, [batch for part in parts for batch in part])

    moves = torch_side(weights, steps)
    train_in_torch(*moves, parts[0])
    continue_in_jax(*moves, parts[1])
    train_in_torch(*moves, parts[2])

    print(f"{steps} steps, a third of them in JAX; accuracy on {len(test.labels)} test digits")
    compare(stays, moves, test)

    schedule = fdl.optim.one_cycle_lr(LARGEST, total_steps=steps)
    picture = arguments.out / "schedule.png"
    fdl.plots.schedule({"one cycle": schedule}, steps, picture)
    print(f"picture: {picture}")


if __name__ == "__main__":
    main()
