"""`fdl parity`: its verdicts as exit codes, its files, its errors, and the grammar of inputs."""

import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fdl
from fdl import cli
from fdl.parity import _named
from fdl.parity._inputs import Spec, drawn, guessed_target, parse

HERE = __name__
INPUT = ("--input", "f32[4,3]")
NETS = (f"{HERE}:torch_net", f"{HERE}:jax_net")
QUICK = (*INPUT, "--loss", "mse_loss", "--precision", "float64")


def torch_net():
    return torch.nn.Sequential(torch.nn.Linear(3, 2))


def jax_net():
    return fdl.models.mlp([3, 2])


def scaled(scale):
    """A dict candidate with a bias of its own scale."""
    return {
        "candidate": lambda p, x: x @ p["w"] + scale * p["b"],
        "params": {"w": jnp.zeros((3, 2)), "b": jnp.zeros(2)},
        "names": {"w": ("0.weight", (1, 0)), "b": "0.bias"},
    }


def doubled_bias():
    return scaled(2.0)


def slightly_off():
    return scaled(1 + 1e-8)


def not_running():
    return {**scaled(1.0), "candidate": lambda p, x: x @ p["nothing"]}


def raising():
    raise RuntimeError("no [weights] here")


def wrong_dict():
    return {"candidate": jax_net(), "parameters": 1}


def batches():
    x = np.random.default_rng(0).normal(size=(4, 3))
    return [(x, x[:, :2]), (x + 1, x[:, 1:])]


def torch_loss(output, target):
    return (output - target).abs().mean()


def jax_loss(output, target):
    return jnp.abs(output - target).mean()


def doubled_loss(output, target):
    return 2 * jax_loss(output, target)


def pair():
    return (lambda p: torch.optim.SGD(p, lr=0.5, momentum=0.9)), fdl.optim.sgd(0.5, momentum=0.9)


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Runs the command line in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["fdl", "parity", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code, *capsys.readouterr()

    return command


def test_equal_is_exit_code_0_and_writes_page_and_json(run, tmp_path):
    files = ("--html", "a/out.html", "--json", "out.json")
    code, out, _ = run(
        f"{HERE}:torch_net", f"{HERE}:jax_net", *INPUT, "--loss", "cross_entropy", *files
    )
    assert code == 0
    assert out.startswith("EQUAL")
    assert out.endswith("wrote a/out.html\nwrote out.json\n")
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["verdict"] == "equal"
    assert written["setup"]["precisions"] == ["float64", "float32"]
    assert "</html>" in (tmp_path / "a" / "out.html").read_text()


def test_different_is_exit_code_1_with_the_cause(run):
    code, out, _ = run(f"{HERE}:torch_net", f"{HERE}:doubled_bias", *QUICK)
    assert code == 1
    assert out.startswith("DIFFERENT")
    assert "cause: doubled bias" in out


def test_a_candidate_that_does_not_run_is_exit_code_2(run):
    code, out, _ = run(f"{HERE}:torch_net", f"{HERE}:not_running", *QUICK)
    assert code == 2
    assert out.startswith("NOT COMPARED: the candidate raised KeyError")


def test_factors_widen_budgets(run):
    arguments = (f"{HERE}:torch_net", f"{HERE}:slightly_off", *QUICK)
    assert run(*arguments)[0] == 1
    code, out, _ = run(*arguments, "--factor", "*=1e4", "--factor", "nothing=2")
    assert code == 0
    assert "budgets multiplied by 10000" in out


def test_batches_losses_and_optimizers_of_ones_own(run, tmp_path):
    nets = (f"{HERE}:torch_net", f"{HERE}:jax_net", "--precision", "float64")
    own = ("--batches", f"{HERE}:batches", "--optimizer", f"{HERE}:pair", "--steps", "2")
    code, out, _ = run(*nets, *own, "--loss", f"{HERE}:torch_loss,{HERE}:doubled_loss")
    assert code == 1
    assert "first: loss" in out
    loss = f"{HERE}:torch_loss,{HERE}:jax_loss"
    code, _, _ = run(*nets, *own, "--loss", loss, "--json", "out.json")
    assert code == 0
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert {row["step"] for row in rows if row["kind"] == "parameter"} == {1, 2}
    assert {row["precision"] for row in rows} == {"float64"}


def test_a_named_optimizer_takes_options_for_both_sides(run):
    named = ("--optimizer", "RMSprop(momentum=0.9, centered=True)", "--steps", "2")
    assert run(*NETS, *QUICK, *named)[0] == 0
    code, out, _ = run(*NETS, *QUICK, "--optimizer", "muon")
    assert code == 2
    assert out.startswith("NOT COMPARED: --optimizer muon: expected a network of matrices alone")


@pytest.mark.parametrize("name", _named.OPTIMIZERS)
def test_every_optimizer_has_its_name(name):
    theirs, ours = _named.optimizers(name.replace("_", ""), 0.1)
    made = theirs([torch.nn.Parameter(torch.ones(2, 2))])
    assert type(made).__name__.lower() == name.replace("_", "")
    assert made.defaults["lr"] == 0.1
    assert ours.init({"w": jnp.ones((2, 2))})


def test_no_optimizer_is_left_out():
    theirs = {known.lower() for known in vars(torch.optim)}
    ours = {name for name in fdl.optim.__all__ if name.replace("_", "") in theirs}
    assert {*_named.OPTIMIZERS, "lbfgs"} == {name for name in ours if name.islower()}


def test_a_recording_stands_for_torch(run, tmp_path):
    recorded = (*INPUT, "--loss", "mse_loss", "--optimizer", "AdamW", "--lr", "0.1", "--steps", "2")
    code, out, _ = run("record", f"{HERE}:torch_net", "net.fdl", *recorded)
    size = (tmp_path / "net.fdl").stat().st_size / 1e6
    assert (code, out) == (0, f"wrote net.fdl ({size:.3g} MB)\n")
    against = ("--against", "net.fdl", "--precision", "float64")
    assert run(*against, f"{HERE}:jax_net")[0] == 0
    code, out, _ = run(*against, f"{HERE}:jax_net", "--lr", "0.2")
    assert code == 1
    assert "first: update" in out
    code, _, error = run(*against, f"{HERE}:jax_net", "--steps", "3", "--seed", "0")
    assert code == 2
    assert "--steps, --seed: expected none, since the recording net.fdl has its own" in error


def test_a_recording_made_from_python_needs_loss_and_optimizer(run):
    batch = (np.ones((4, 3)), np.ones((4, 2)))
    fdl.parity.record(
        torch_net(), "net.fdl", [batch], loss="mse_loss", optimizer=torch.optim.SGD, draws=1
    )
    code, _, error = run("--against", "net.fdl", f"{HERE}:jax_net", "--loss", "mse_loss")
    assert code == 2
    assert "--optimizer: expected one, since the recording net.fdl was made with" in error
    code, _, error = run("--against", "net.fdl", f"{HERE}:jax_net", "--optimizer", "sgd")
    assert code == 2
    assert "--loss: expected one" in error


def test_a_recording_needs_no_torch(run, tmp_path):
    run("record", f"{HERE}:torch_net", "net.fdl", *INPUT, "--loss", "cross_entropy")
    (tmp_path / "port.py").write_text("import fdl\nnet = fdl.models.mlp([3, 2])\n")
    code = (
        "import sys; sys.modules['torch'] = None; from fdl import cli\n"
        "sys.argv = ['fdl', 'parity', *sys.argv[1:]]; cli.main()"
    )

    def blocked(*arguments):
        command = [sys.executable, "-P", "-W", "error", "-c", code, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    done = blocked("--against", "net.fdl", "port:net")  # found from the current directory
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("EQUAL")
    done = blocked("port:net", "port:net", *INPUT, "--loss", "cross_entropy")
    assert done.returncode == 2
    assert "fdl parity without --against needs 'torch', which is not installed" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("--help",), ("compare", "--help")])
def test_help_teaches(run, arguments):
    code, out, _ = run(*arguments)
    assert code == 0
    words = " ".join(out.split())
    assert "a function or class that takes no arguments" in words
    assert words.count("fdl parity nets:torch_") == 2
    assert "fdl parity --against cnn.fdl nets:jax_cnn" in words
    assert "'i64[8,16]<1000'" in words
    shown = "".join(words.replace("│", "").split())  # option texts are wrapped in a box
    assert all(name in shown for name in _named.OPTIMIZERS) or "record" in arguments
    assert "0 equal, 1 different, 2 could not compare" in words


def test_help_of_fdl_is_quick():
    code = "import sys; from fdl import cli; sys.argv = ['fdl', '--help']\ntry: cli.main()\n"
    code += "finally: print({'jax', 'torch', 'flax'} & set(sys.modules))"
    command = [sys.executable, "-W", "error", "-c", code]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "parity" in printed
    assert printed.endswith("set()\n")


def test_help_of_record(run):
    code, out, _ = run("record", "--help")
    assert code == 0
    assert "without torch" in out


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ((f"{HERE}:torch_net", *QUICK), "expected TORCH_FACTORY JAX_FACTORY"),
        (("nonsense", f"{HERE}:jax_net", *QUICK), "expected pkg.mod:name, got 'nonsense'"),
        (("no.such:net", f"{HERE}:jax_net", *QUICK), "importing 'no.such' raised ModuleNotFound"),
        (("leaving:net", f"{HERE}:jax_net", *QUICK), "left the program by sys.exit(0)"),
        ((f"{HERE}:torch_nett", f"{HERE}:jax_net", *QUICK), "There is torch_net"),
        ((f"{HERE}:raising", f"{HERE}:jax_net", *QUICK), "the reference test_parity_cli:raising"),
        ((f"{HERE}:torch_net", f"{HERE}:raising", *QUICK), "no [weights] here"),
        ((f"{HERE}:torch_net", f"{HERE}:scaled", *QUICK), "got a function of scale"),
        ((f"{HERE}:torch_net", f"{HERE}:wrong_dict", *QUICK), "['candidate', 'parameters']"),
        ((*reversed(NETS), *QUICK), "expected a torch.nn.Module, got Model"),
        ((*NETS, "--loss", "mse_loss"), "got neither"),
        ((*NETS, *QUICK, "--batches", f"{HERE}:batches"), "got both"),
        ((*NETS, "--loss", "mse_loss", "--batches", f"{HERE}:INPUT"), "got ['str', 'str'] in it"),
        ((*NETS, *INPUT), "--loss: expected one"),
        ((*NETS, *INPUT, "--loss", "nonsense"), "got 'nonsense'"),
        ((*NETS, *INPUT, "--loss", f"{HERE}:torch_loss"), "Add JAX's after a comma"),
        ((*NETS, *QUICK, "--optimizer", "lion"), "expected one of adadelta, adafactor"),
        ((*NETS, *QUICK, "--optimizer", "LBFGS"), "runs the network again within a step"),
        ((*NETS, *QUICK, "--optimizer", "sgd(0.1)"), "got 'sgd(0.1)'. Write it as"),
        ((*NETS, *QUICK, "--optimizer", "sgd(lr=x"), "got 'sgd(lr=x'. Write it as"),
        ((*NETS, *QUICK, "--optimizer", "adam(eps=-1)"), "adam: eps: expected 0 or more, got -1"),
        ((*NETS, *QUICK, "--optimizer", f"{HERE}:jax_net"), "got Model"),
        ((*NETS, *QUICK, "--optimizer", f"{HERE}:pair", "--lr", "1"), "Leave out --lr"),
        ((*NETS, *QUICK, "--input", "f32[4,7]"), "the reference raised"),
        ((*NETS, *QUICK, "--steps", "2"), "expected 1 or more, and an optimizer for more than 1"),
        ((*NETS, *QUICK, "--precision", "float16"), "float16"),
        ((*NETS, *QUICK, "--factor", "x"), "--factor: expected pattern=number, got 'x'"),
        ((*NETS, *QUICK, "--html", "out.htm"), "--html: expected a name that ends in .html"),
        (("--against", "no.fdl", f"{HERE}:jax_net"), "no recording at no.fdl"),
        (("record", f"{HERE}:raising", "out.fdl", *INPUT, "--loss", "mse_loss"), "no [weights]"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(run, tmp_path, arguments, shown):
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(0)\n")
    code, out, error = run(*arguments)
    assert (code, out) == (2, "")
    *guess, line = error.splitlines()
    assert shown in line
    assert line.startswith("error")
    assert all(line.startswith("--target") for line in guess)


def test_a_fault_of_fdl_is_not_taken_for_a_difference(run, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("a fault")

    monkeypatch.setattr(fdl.parity, "compare", broken)
    code, _, error = run(*NETS, *QUICK)
    assert code == 2
    assert "RuntimeError: a fault" in error


def test_what_a_candidate_may_be():
    function, params, *_ = scaled(1.0).values()
    given = {"linen": (function, params), "dict": scaled(1.0), "model": jax_net()}
    module = type(sys)("given_candidates")
    vars(module).update(given, of_three=(1, 2, 3), maker=lambda: given["linen"])
    sys.modules["given_candidates"] = module
    assert _named.candidate("given_candidates:linen") == {"candidate": function, "params": params}
    assert _named.candidate("given_candidates:maker") == {"candidate": function, "params": params}
    assert _named.candidate("given_candidates:dict") == given["dict"]
    assert _named.candidate("given_candidates:model") == {"candidate": given["model"]}
    with pytest.raises(ValueError, match="got a tuple of 3"):
        _named.candidate("given_candidates:of_three")


integers = st.builds(Spec, st.sampled_from(["i32", "i64"]), st.tuples(), st.integers(1, 2**31 - 1))
others = st.builds(Spec, st.sampled_from(["f32", "f64", "bool"]), st.tuples(), st.just(2))
shapes = st.lists(st.integers(1, 5), max_size=4).map(tuple)


@given(st.one_of(integers, others), shapes)
def test_the_grammar_of_inputs_reads_what_it_writes(spec, shape):
    spec = spec._replace(shape=shape)
    assert parse("--input", str(spec)) == spec
    first, second = drawn([spec], seed=0)
    assert first[0].shape == second[0].shape == shape
    assert first[0].dtype.name.startswith({"f": "float", "i": "int", "b": "bool"}[spec.dtype[0]])
    assert first[0].dtype.itemsize == {"32": 4, "64": 8, "ol": 1}[spec.dtype[-2:]]
    if spec.dtype[0] == "i":
        assert 0 <= first[0].min() <= first[0].max() < spec.bound
    assert np.array_equal(drawn([spec], seed=0)[1][0], second[0])


def test_drawn_batches_and_seeds_differ():
    spec = Spec("i64", (50,), 10)
    first, second = drawn([spec], seed=0)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, drawn([spec], seed=1)[0])
    assert set(first[0]) == set(range(10))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("f16[3]", "a dtype (f32, f64, i32, i64, bool) at character 1, got 'f16'"),
        ("", "a dtype (f32, f64, i32, i64, bool) at character 1, got nothing"),
        ("f32", "a shape in brackets, closed by ] at character 4, got nothing"),
        ("f32[3", "a shape in brackets, closed by ] at character 4, got '[3'"),
        ("f32[8,x]", "a size of 1 or more at character 7, got 'x'"),
        ("f32[8, 0]", "a size of 1 or more at character 8, got '0'"),
        ("f32[8,]", "a size of 1 or more at character 7, got nothing"),
        ("f32[8]<3", "nothing after the shape of f32 at character 7, got '<3'"),
        ("i64[8]10", "< and a bound from 1 to 9223372036854775807 at character 7, got '10'"),
        ("i32[8]<0", "< and a bound from 1 to 2147483647 at character 7, got '<0'"),
    ],
)
def test_errors_of_the_grammar_say_where(text, shown):
    with pytest.raises(ValueError, match="Write it as") as caught:
        parse("--input", text)
    assert str(caught.value).startswith(f"--input {text!r}: expected {shown}.")


@pytest.mark.parametrize(
    ("shape", "loss", "expected"),
    [
        ((4, 3), "cross_entropy", "i64[4]<3"),
        ((4, 3, 5), "cross_entropy", "i64[4,5]<3"),
        ((3,), "cross_entropy", "i64[]<3"),
        ((4, 3), "mse_loss", "f32[4,3]"),
        ((4, 3), [torch_loss, jax_loss], "f32[4,3]"),
    ],
)
def test_a_target_is_guessed_from_the_output(shape, loss, expected):
    spec = Spec("f64", shape)
    assert str(guessed_target(torch.nn.Identity(), [spec], loss, 0)) == expected


def test_no_target_is_guessed_from_several_outputs():
    class Two(torch.nn.Module):
        def forward(self, x):
            return x, x

    with pytest.raises(ValueError, match="Pass --target, or --batches"):
        guessed_target(Two(), [Spec("f32", (2,))], "mse_loss", 0)
