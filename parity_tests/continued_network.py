"""A network whose run goes from torch to fdl and back, step by step."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from nearness import assert_equal
from torch.optim import lr_scheduler

from fdl import interop

X = np.random.default_rng(0).normal(size=(60, 8, 4))


class Network(torch.nn.Module):
    """Parameters in an order that is not the sorted one; `spare` is used at some steps only."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = torch.nn.Linear(4, 5)
        self.spare = torch.nn.Linear(4, 5)
        self.head = torch.nn.Linear(5, 2)
        self.to(torch.float64)


def forward(params, x, tanh, *, spare):
    hidden = x @ params["stem.weight"].T + params["stem.bias"]
    if spare:
        hidden = hidden + x @ params["spare.weight"].T + params["spare.bias"]
    return ((tanh(hidden) @ params["head.weight"].T + params["head.bias"] - x[:, :2]) ** 2).mean()


def torch_steps(module, optimizers, schedulers, steps, spare=lambda step: True):
    """Steps on; schedulers that take a metric get the loss. Returns the last loss."""
    for step in steps:
        for optimizer in optimizers:
            optimizer.zero_grad()
        params = dict(module.named_parameters())
        loss = forward(params, torch.tensor(X[step]), torch.tanh, spare=spare(step))
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        for scheduler in schedulers:
            metric = isinstance(scheduler, lr_scheduler.ReduceLROnPlateau)
            scheduler.step(*[loss.item()] * metric)


@functools.cache
def gradient(spare):
    return jax.jit(jax.value_and_grad(lambda p, x: forward(p, x, jnp.tanh, spare=spare)))


def fdl_steps(params, state, optimizer, steps, spare=lambda step: True, after=lambda s, loss: s):
    update = jax.jit(optimizer.update)
    for step in steps:
        value, grads = gradient(spare(step))(params, jnp.asarray(X[step]))
        if not spare(step):
            grads = {k: None if k.startswith("spare") else g for k, g in grads.items()}
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
        state = after(state, value)
    return params, state


def params_of(module):
    return {name: interop.to_jax(p) for name, p in module.named_parameters()}


def load(module, params):
    module.load_state_dict(interop.to_torch(params, {}))


def check(module, expected):
    assert_equal(
        {n: p.detach().numpy() for n, p in module.named_parameters()},
        {n: p.detach().numpy() for n, p in expected.named_parameters()},
    )


def refuses(source, like, params, *texts, error=ValueError, **options):
    """Asserts that a state of torch's is refused, in these words."""
    with pytest.raises(error) as raised:
        interop.optimizer_from_torch(source, like=like, params=params, **options)
    for text in texts:
        assert re.search(text, str(raised.value)), str(raised.value)
