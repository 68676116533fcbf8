"""Tensors, state_dicts and safetensors between torch and fdl: exact, strict, and never shared."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.torch
import torch

import fdl
from fdl.interop import from_torch, load_safetensors, save_safetensors, to_jax, to_tensor, to_torch


def network(hidden: int = 5) -> fdl.Model:
    return fdl.as_model(
        lambda rngs: fdl.nn.Sequential(
            fdl.nn.Conv2d(2, hidden, 3, rngs=rngs),
            fdl.nn.BatchNorm2d(hidden),
            fdl.nn.Flatten(),
            fdl.nn.Linear(hidden, 3, rngs=rngs),
        )
    )


def twin(hidden: int = 5) -> torch.nn.Module:
    """The torch side, with running statistics that are no longer the first ones."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(2, hidden, 3),
        torch.nn.BatchNorm2d(hidden),
        torch.nn.Flatten(),
        torch.nn.Linear(hidden, 3),
    )
    module(torch.randn(4, 2, 3, 3))
    return module


MODEL = network()


def assert_same_state(got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert got.keys() == expected.keys()
    for name, tensor in expected.items():
        assert got[name].dtype == tensor.dtype, name
        assert torch.equal(got[name], tensor), name


# --- single tensors

DTYPES = ["float32", "float16", "bfloat16", "int32", "int16", "int8", "uint8", "bool"]
SHAPES = [(), (0,), (3,), (2, 0, 4), (2, 3, 4)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_tensor_round_trip(dtype, shape):
    tensor = (4 * torch.randn(shape)).to(getattr(torch, dtype))
    array = to_jax(tensor)
    assert (str(array.dtype), array.shape) == (dtype, shape)
    assert torch.equal(to_tensor(array), tensor)
    assert to_tensor(array).dtype == tensor.dtype


def test_special_values_survive():
    tensor = torch.tensor([torch.nan, torch.inf, -torch.inf, -0.0, 1e-45, 3e38])
    for kept in (tensor, tensor.to(torch.bfloat16)):
        assert torch.equal(to_tensor(to_jax(kept)).view(torch.uint8), kept.view(torch.uint8))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(12.0).reshape(3, 4).T,
        torch.arange(12.0)[::3],
        torch.ones(1).expand(5),
        torch.ones(3, requires_grad=True),
        torch.nn.Parameter(torch.ones(2, 2)),
        torch.ones(2, 3).to(memory_format=torch.contiguous_format).to(torch.bfloat16).T,
        torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last),
    ],
    ids=["transposed", "strided", "expanded", "leaf", "parameter", "bfloat16.T", "channels_last"],
)
def test_any_layout(tensor):
    array = to_jax(tensor)
    assert torch.equal(to_tensor(array), tensor.detach())


def test_float64_needs_x64():
    tensor = torch.tensor([1.0, 1e-9], dtype=torch.float64) + 1
    with pytest.raises(TypeError, match=r"expected .* got float64.*module\.float\(\).*x64"):
        to_jax(tensor)
    with pytest.raises(TypeError, match=r"expected .* got float64"):
        from_torch(twin().double(), like=MODEL)
    with jax.enable_x64(True):
        assert torch.equal(to_tensor(to_jax(tensor)), tensor)


def test_integers_take_the_width_of_each_side():
    count = torch.tensor(7)
    assert to_jax(count).dtype == jnp.int32
    assert to_torch({}, {"count": to_jax(count)})["count"].dtype == torch.int64
    with jax.enable_x64(True):
        assert to_jax(count).dtype == jnp.int64


def test_an_integer_that_does_not_fit_raises():
    with pytest.raises(TypeError, match=r"got int64.*int32.*x64"):
        to_jax(torch.tensor([1, 2**40]))


# --- networks


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_state_dict_round_trip(dtype):
    module = twin().to(dtype)
    with jax.enable_x64(dtype == torch.float64):
        params, buffers = from_torch(module, like=MODEL)
        state = to_torch(params, buffers)
    assert set(params) == {name for name, _ in module.named_parameters()}
    assert set(buffers) == {name for name, _ in module.named_buffers()}
    assert_same_state(state, dict(module.state_dict()))
    fresh = twin().to(dtype)
    fresh.load_state_dict(state, strict=True)
    assert state["1.num_batches_tracked"].dtype == torch.int64


def test_state_dict_and_module_are_the_same_source():
    of_module, of_dict = (from_torch(s, like=MODEL) for s in (twin(), twin().state_dict()))
    assert jax.tree.all(jax.tree.map(jnp.array_equal, of_module, of_dict))


def test_fresh_parameters_load_into_torch():
    module = twin()
    state = to_torch(*MODEL.init(jax.random.key(0)))
    module.load_state_dict(state, strict=True)
    assert_same_state(dict(module.state_dict()), state)


def test_every_disagreement_is_listed_at_once():
    state = dict(twin().state_dict())
    state["extra"] = torch.ones(2)
    state["3.weight"] = torch.ones(3, 7)
    del state["0.bias"], state["1.running_var"]
    with pytest.raises(ValueError, match="4 problems") as raised:
        from_torch(state, like=MODEL)
    for problem in (
        "missing '0.bias' (5,)",
        "missing '1.running_var' (5,)",
        "unexpected 'extra' (2,)",
        "'3.weight': expected shape (3, 5), got (3, 7)",
    ):
        assert problem in str(raised.value)


def test_float_for_integer_is_refused():
    state = {**twin().state_dict(), "1.num_batches_tracked": torch.tensor(1.0)}
    with pytest.raises(TypeError, match=r"num_batches_tracked': expected int32, got float32"):
        from_torch(state, like=MODEL)
    state = {**twin().state_dict(), "0.bias": torch.arange(5)}
    with pytest.raises(TypeError, match=r"'0.bias': expected float32, got int32"):
        from_torch(state, like=MODEL)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int32])
def test_nothing_is_shared(dtype):
    tensor = torch.ones(4096, dtype=dtype)
    array = to_jax(tensor)
    back = to_tensor(array)
    tensor.zero_()
    assert (array == 1).all()
    back.fill_(2)
    assert (array == 1).all()


def test_training_one_side_leaves_the_other():
    module = twin()
    params, buffers = from_torch(module, like=MODEL)
    before = jax.tree.map(np.array, (params, buffers))
    state = to_torch(params, buffers)
    with torch.no_grad():
        for tensor in (*module.state_dict().values(), *state.values()):
            tensor.zero_()
    assert jax.tree.all(jax.tree.map(np.array_equal, (params, buffers), before))


# --- safetensors


def test_file_round_trip(tmp_path):
    params, buffers = from_torch(twin(), like=MODEL)
    save_safetensors(tmp_path / "new" / "w.safetensors", params, buffers)
    loaded = load_safetensors(str(tmp_path / "new" / "w.safetensors"), like=MODEL)
    assert jax.tree.structure(loaded) == jax.tree.structure((params, buffers))
    assert jax.tree.all(jax.tree.map(jnp.array_equal, loaded, (params, buffers)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_torch_reads_what_fdl_writes(tmp_path, dtype):
    source, path = twin().to(dtype), tmp_path / "w.safetensors"
    with jax.enable_x64(dtype == torch.float64):
        save_safetensors(path, *from_torch(source, like=MODEL))
    module = twin().to(dtype)
    with torch.no_grad():
        module[0].weight.zero_()
    state = safetensors.torch.load_file(path)
    module.load_state_dict(state, strict=True)
    assert_same_state(dict(module.state_dict()), dict(source.state_dict()))
    assert_same_state(state, dict(source.state_dict()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fdl_reads_what_torch_writes(tmp_path, dtype):
    source, path = twin().to(dtype), tmp_path / "w.safetensors"
    safetensors.torch.save_file(source.state_dict(), path)
    assert_same_state(to_torch(*load_safetensors(path, like=MODEL)), dict(source.state_dict()))


def test_file_of_another_architecture(tmp_path):
    path = tmp_path / "w.safetensors"
    save_safetensors(path, *network(hidden=6).init(jax.random.key(0)))
    with pytest.raises(ValueError, match="7 problems") as raised:
        load_safetensors(path, like=MODEL)
    assert str(path) in str(raised.value)
    assert "'3.weight': expected shape (3, 5), got (3, 6)" in str(raised.value)


def test_missing_file(tmp_path):
    path = tmp_path / "none.safetensors"
    with pytest.raises(FileNotFoundError, match=r"expected a .safetensors file.*none\.safetensors"):
        load_safetensors(path, like=MODEL)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all", b"\x08" + 7 * b"\0" + b"{}"])
def test_file_of_another_format(tmp_path, content):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"expected the safetensors format, got .*torch\.load"):
        load_safetensors(path, like=MODEL)


def test_truncated_file(tmp_path):
    path = tmp_path / "w.safetensors"
    save_safetensors(path, *MODEL.init(jax.random.key(0)))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="expected the safetensors format"):
        load_safetensors(path, like=MODEL)


def test_float64_file_needs_x64(tmp_path):
    safetensors.torch.save_file(twin().double().state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(TypeError, match=r"0\.\w+: expected .* got float64"):
        load_safetensors(tmp_path / "w.safetensors", like=MODEL)


def test_failed_write_leaves_the_earlier_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    save_safetensors(path, *MODEL.init(jax.random.key(0)))
    earlier = path.read_bytes()

    def fails_halfway(arrays, file, **_):
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("fdl.interop.safetensors.save_file", fails_halfway)
    with pytest.raises(OSError, match="disk full"):
        save_safetensors(path, *MODEL.init(jax.random.key(1)))
    assert path.read_bytes() == earlier
    assert list(tmp_path.iterdir()) == [path]


def test_name_of_both_kinds_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"parameter or a buffer, got both.*'w'"):
        save_safetensors(tmp_path / "w", {"w": jnp.ones(1)}, {"w": jnp.ones(1)})
    assert list(tmp_path.iterdir()) == []
