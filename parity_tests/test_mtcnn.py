"""The cascade finds what facenet-pytorch's finds, with the weights that it comes with."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from faces_reference import MTCNN
from inside import inside
from nearness import assert_equal, assert_near
from skimage import data

import fdl
from fdl.models.face_detection import Faces, area, sums_of
from fdl.parity import TOLERANCE
from fdl.parity.judge import distance, maximum

pytestmark = pytest.mark.optimised
FACE = data.astronaut()[:256, 100:356]
PICTURES = {
    "astronaut": data.astronaut(),
    "mirrored": data.astronaut()[:, ::-1],
    "half as large, four times": np.tile(data.astronaut()[::2, ::2], (2, 2, 1)),
    "two and two mirrored": np.tile(np.hstack([FACE, FACE[:, ::-1]]), (2, 1, 1)),
}
COUNTS = dict(zip(PICTURES, (1, 1, 4, 4), strict=True))
NO_FACE = np.vstack([data.coffee(), data.coffee()])[:512, :512]


@cache
def weights(dtype: str) -> list[fdl.Params]:
    with jax.enable_x64(dtype == "float64"):
        return [
            fdl.models.pretrained(
                inside("facenet_pytorch", f"data/{name}.pt"),
                like=getattr(fdl.models, name)(),
                dtype=dtype,
            )[0]
            for name in ("pnet", "rnet", "onet")
        ]


def detected(image: np.ndarray, dtype: str, **options) -> dict[str, np.ndarray]:
    with jax.enable_x64(dtype == "float64"):
        faces = fdl.models.detect_faces(*weights(dtype), image, **options)
    assert {array.dtype for array in faces} == {np.dtype(dtype)}
    return faces._asdict()


def expected(image: np.ndarray, dtype: str, **options) -> dict[str, np.ndarray]:
    cascade = MTCNN(**options).to(getattr(torch, dtype))
    found = cascade.detect(np.ascontiguousarray(image), landmarks=True)
    return {k: np.array(v, dtype) for k, v in zip(Faces._fields, found, strict=True)}


@pytest.mark.parametrize("name", PICTURES)
def test_faces_are_facenets(name, record_property):
    oracle = expected(PICTURES[name], "float64")
    assert oracle["boxes"].shape == (COUNTS[name], 4)
    assert_equal(detected(PICTURES[name], "float64"), oracle)

    theirs, ours = (f(PICTURES[name], "float32") for f in (expected, detected))
    for quantity, exact in oracle.items():
        error, reference = (
            distance(side[quantity], exact, maximum(exact), maximum) for side in (ours, theirs)
        )
        assert error <= TOLERANCE.float32(reference), quantity
    for network in ("pnet", "rnet", "onet"):
        record_property("weights", (network, "facenet-pytorch 2.6.0"))


def test_a_cup_of_coffee_is_no_face():
    assert [array.shape for array in detected(NO_FACE, "float64").values()] == [
        (0, 4),
        (0,),
        (0, 5, 2),
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"select_largest": False},
        {"factor": 0.6, "thresholds": [0.5, 0.3, 0.1]},
        {"thresholds": [0.8, 0.9, 0.95], "min_face_size": 44},
        {"min_face_size": 11},  # the first picture of the pyramid is larger than the image
    ],
    ids=str,
)
def test_options_are_facenets(options):
    image = data.astronaut()[31:162:2, 151:300:2]  # odd, and not square
    image = np.hstack([image, image[:, ::-1]])
    oracle = expected(image, "float64", **{"min_face_size": 24, **options})
    assert len(oracle["boxes"]) >= 1
    assert_equal(detected(image, "float64", **{"min_face_size": 24, **options}), oracle)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("window", "size"),
    [((0, 0, 40, 30), (13, 17)), ((3, 5, 10, 29), (24, 24)), ((39, 0, 40, 30), (5, 2))],
)
def test_windows_are_resized_as_by_interpolate(window, size):
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    left, top, right, bottom = window
    crop = torch.tensor(image[top:bottom, left:right]).double().permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(crop, size=size, mode="area")[0].permute(1, 2, 0)
    means = area(jnp.asarray(sums_of(image)), jnp.array(window), size=size, dtype=jnp.float64)
    assert_equal({"means": means}, {"means": resized.numpy()})


def test_windows_are_resized_right_where_sums_begin_again():
    image = np.full((40, 40, 3), 255, np.uint8)
    sums = sums_of(image) + np.uint32(2**32 - 255 * 600)  # as if there were an image before it
    assert sums[-1, -1, 0] < sums[0, 0, 0]
    means = area(jnp.asarray(sums), jnp.array([3, 5, 40, 40]), size=(2, 3), dtype=jnp.float32)
    assert_near(means, np.full((2, 3, 3), 255.0))


BLACK = np.zeros((40, 40, 3), np.uint8)


@pytest.mark.parametrize(
    ("image", "options", "error", "message"),
    [
        (BLACK[None], {}, ValueError, r"image: expected shape \(H, W, 3\).* got \(1, 40, 40, 3\)"),
        (BLACK / 255, {}, TypeError, r"image: expected uint8.* got float64"),
        (BLACK, {"factor": 1.0}, ValueError, r"factor between 0 and 1"),
        (BLACK, {"min_face_size": 0}, ValueError, r"min_face_size above 0"),
        (BLACK, {"thresholds": (0.6, 0.7)}, ValueError, r"three thresholds, got .*\(0.6, 0.7\)"),
    ],
)
def test_wrong_arguments_say_what_is_expected(image, options, error, message):
    with pytest.raises(error, match=f"detect_faces: .*{message}"):
        fdl.models.detect_faces(*weights("float32"), image, **options)
