"""Self-trained weights of torchvision's networks, loaded as they are, on photographs."""

import jax
import numpy as np
import pytest
import torch
from nearness import assert_equal
from self_trained import PICTURES, crops, trained

import fdl
import fdl.functional as F

NIGHTLY = pytest.mark.nightly
SIZES = {"resnet18": 48, "mobilenet_v2": 48}
MORE = {
    "alexnet": 63,
    "resnet34": 48,
    "resnet50": 48,
    "resnet101": 48,
    "resnet152": 48,
    **{f"vgg{depth}{norm}": 32 for depth in (11, 13, 16, 19) for norm in ("", "_bn")},
}
every_network = pytest.mark.parametrize(
    ("name", "size"),
    [*SIZES.items(), *(pytest.param(*item, marks=NIGHTLY) for item in MORE.items())],
)


@every_network
def test_outputs_and_gradients_are_torchs(name, size, x64):
    network = trained(name, size).double()
    assert all(
        (buffer != torch.full_like(buffer, float("var" in key))).all()
        for key, buffer in network.named_buffers()
    ), "a batch norm has the statistics that it began with"
    images, labels = crops(size, 2, seed=100)
    images = images.astype(np.float64)

    model = getattr(fdl.models, name)(num_classes=len(PICTURES))
    params, buffers = fdl.interop.from_torch(network.state_dict(), like=model)

    @jax.jit
    @jax.grad
    def gradients(params, buffers, images):
        return F.cross_entropy(model.apply(params, buffers, images)[0], jax.numpy.array(labels))

    output, after = jax.jit(model.apply)(params, buffers, images)
    found = {"output": output, **gradients(params, buffers, images)}

    network.zero_grad()
    expected = network(torch.from_numpy(images))
    torch.nn.functional.cross_entropy(expected, torch.from_numpy(labels)).backward()
    grads = {key: p.grad.numpy() for key, p in network.named_parameters()}
    assert_equal(found, {"output": expected.detach().numpy(), **grads})
    jax.tree.map(np.testing.assert_array_equal, after, buffers)
