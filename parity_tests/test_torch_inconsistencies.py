"""Where PyTorch contradicts itself: shown in the smallest case, and what fdl does there."""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

import fdl
import fdl.functional as F
from fdl.parity import TOLERANCE
from fdl.parity.judge import distance, maximum, root_mean_square

X, V, ALONG = (np.random.default_rng(0).normal(size=s) for s in ((4, 3), (2, 3), (2, 3)))
G = np.array([[0.5], [2.0]])
STEP = 1e-6
ROUGH = 1e-6
"""What a central difference of this step is good for in float64."""


def near(got, expected) -> bool:
    return distance(got, expected, root_mean_square(expected), root_mean_square) < ROUGH


def test_weight_norms_second_derivative():
    """That of ``torch._weight_norm`` is not the derivative of its first; fdl's is."""

    def first(v: torch.Tensor) -> torch.Tensor:
        weight = torch._weight_norm(v, torch.tensor(G), 0)
        value = (torch.tensor(X) @ weight.T).square().sum()
        return torch.autograd.grad(value, v, create_graph=True)[0]

    v, along = torch.tensor(V, requires_grad=True), torch.tensor(ALONG)
    torchs = torch.autograd.grad((first(v) * along).sum(), v)[0].numpy()
    ahead, behind = (first(v + step * along).detach().numpy() for step in (STEP, -STEP))
    difference = (ahead - behind) / (2 * STEP)

    model = fdl.as_model(
        lambda rngs: fdl.nn.utils.weight_norm(fdl.nn.Linear(3, 2, bias=False, rngs=rngs))
    )

    def value(v):
        params = {"weight_g": jnp.asarray(G), "weight_v": v}
        return jnp.square(model.apply(params, {}, jnp.asarray(X))[0]).sum()

    with jax.enable_x64(True):
        fdls = jax.jvp(jax.grad(value), (jnp.asarray(V),), (jnp.asarray(ALONG),))[1]
    assert near(np.asarray(fdls), difference)
    assert not near(torchs, difference)


def test_binary_cross_entropys_second_derivative():
    """The first derivative is -1/x for a target of 1; torch's second is 1/(x + 1e-12)^2."""
    x = np.array([1e-5])

    tensor = torch.tensor(x, requires_grad=True)
    loss = torch.nn.functional.binary_cross_entropy(tensor, torch.ones(1, dtype=torch.float64))
    (first,) = torch.autograd.grad(loss, tensor, create_graph=True)
    torchs = torch.autograd.grad(first.sum(), tensor)[0].numpy()
    with jax.enable_x64(True):
        gradient = jax.grad(lambda x: F.binary_cross_entropy(x, jnp.ones_like(x)))
        fdls = jax.grad(lambda x: gradient(x).sum())(jnp.asarray(x))
    assert distance(first.detach().numpy(), -1 / x, 1 / x.item(), maximum) <= TOLERANCE.float64
    assert distance(np.asarray(fdls), x**-2, x.item() ** -2, maximum) <= TOLERANCE.float64
    assert distance(torchs, x**-2, x.item() ** -2, maximum) > TOLERANCE.float64


def test_causal_attention_with_a_negative_scale():
    """Torch's fast kernel masks before it scales: NaN. Its plain one and fdl scale first."""
    query, key, value = (np.random.default_rng(i).normal(size=(1, 2, 3, 4)) for i in range(3))
    tensors = [torch.tensor(x) for x in (query, key, value)]
    attend = torch.nn.functional.scaled_dot_product_attention
    fast = attend(*tensors, is_causal=True, scale=-2.0)
    with sdpa_kernel(SDPBackend.MATH):
        plain = attend(*tensors, is_causal=True, scale=-2.0).numpy()
    with jax.enable_x64(True):
        arrays = map(jnp.asarray, (query, key, value))
        fdls = F.scaled_dot_product_attention(*arrays, is_causal=True, scale=-2.0)
    assert fast.isnan().any()
    assert distance(np.asarray(fdls), plain, root_mean_square(plain), root_mean_square) <= (
        TOLERANCE.float64
    )
