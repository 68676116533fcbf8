"""The command line of the parity tool: ``fdl parity`` and ``fdl parity record``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.console import Console
from typer.core import TyperGroup

from fdl.parity._named import OPTIMIZERS

if TYPE_CHECKING:
    import torch

    from fdl.parity.report import Report

DEFAULT = "compare"
Arguments = dict[str, Any]

NOTE = "command"  # the entry of a recording that keeps the options it was made with

HELP = (
    "Find the first place where a JAX network leaves PyTorch, and why; or that there is none.\n\n"
    "Both start from torch's weights and see the same batches and dropout masks. Outputs of every "
    "module, loss, gradients, buffers and updated parameters are compared, in the order in which "
    "they are computed.\n\n"
    "[bold]Factories[/] are written pkg.mod:name: a function or class that takes no arguments, or "
    "the object itself, found from the current directory or installed. Torch's gives a "
    "torch.nn.Module. JAX's gives an fdl.Model, a Flax or Equinox module, (function, params) or "
    "(linen module, variables), or a dict of arguments of fdl.parity.compare: candidate, params, "
    "buffers, names, load.\n\n"
    "\b\n"
    "[bold]Examples[/]\n"
    "One step, forward and backward:\n"
    "  fdl parity nets:torch_mlp nets:jax_mlp --input 'f32[8,20]' --loss mse_loss\n"
    "A training run, and a page to look at:\n"
    "  fdl parity nets:torch_cnn nets:jax_cnn --input 'f32[8,3,32,32]' \\\n"
    "    --loss cross_entropy --optimizer adamw --lr 1e-3 --steps 20 \\\n"
    "    --html out.html\n"
    "Torch here, and JAX elsewhere; the second command needs no torch:\n"
    "  fdl parity record nets:torch_cnn cnn.fdl --input 'f32[8,3,32,32]' \\\n"
    "    --loss cross_entropy --optimizer adamw --steps 20\n"
    "  fdl parity --against cnn.fdl nets:jax_cnn\n\n"
    "[bold]Inputs[/] are written dtype\\[sizes]: f32, f64 (standard normal), i32, i64 (uniform "
    "below a bound, as in 'i64\\[8,16]<1000'; below 2 without one) or bool; 'f32\\[]' is a scalar. "
    "Quote them: shells read brackets and <. Two batches are drawn. A target that is not given is "
    "drawn as the loss wants it: classes below the size of the output's axis 1 for cross_entropy, "
    "otherwise normals in the output's shape.\n\n"
    "[bold]Exit codes[/]: 0 equal, 1 different, 2 could not compare.\n\n"
    "The word 'compare' may be left out."
)

RECORD_HELP = (
    "Run a torch network and keep all that the comparison needs of it, in one file.\n\n"
    "The JAX side is then compared by fdl parity --against FILE pkg.mod:jax_factory, in an "
    "environment or on a machine without torch. The file holds every tensor of every step.\n\n"
    "\b\n"
    "[bold]Example[/]\n"
    "  fdl parity record nets:torch_cnn cnn.fdl --input 'f32[8,3,32,32]' \\\n"
    "    --loss cross_entropy --optimizer adamw --steps 20\n\n"
    "See fdl parity --help for factories and inputs."
)


class _Default(TyperGroup):
    """A group whose command `compare` need not be named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in self.commands:
            args = [DEFAULT, *(args or ["--help"])]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_Default, add_completion=False, pretty_exceptions_enable=False)

Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="SPEC", help="An input, as 'f32\\[8,3,32,32]'; repeat it."),
]
Target = Annotated[
    str | None, typer.Option(metavar="SPEC", help="The target, as 'i64\\[8]<10'; else drawn.")
]
Batches = Annotated[
    str | None,
    typer.Option(
        metavar="PKG.MOD:NAME", help="Returns a list of (*inputs, target), instead of --input."
    ),
]
Loss = Annotated[
    str | None,
    typer.Option(
        metavar="LOSS",
        help="A name that torch.nn.functional and fdl.functional share, or "
        "pkg.mod:torch_loss,pkg.mod:jax_loss.",
    ),
]
Optimizer = Annotated[
    str | None,
    typer.Option(
        metavar="OPTIMIZER",
        help=f"{', '.join(OPTIMIZERS)}; with options as 'rmsprop(momentum=0.9)'. Or pkg.mod:pair, "
        "which returns (torch_factory, optax transform). Without it one step is compared, and no "
        "update.",
    ),
]
Rate = Annotated[float | None, typer.Option(help="Learning rate of both; else torch's default.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Training steps; 1 if not given.")]
Seed = Annotated[
    int | None, typer.Option(min=0, help="Of torch's weights, the batches, the dropout masks; 0.")
]


class Question(NamedTuple):
    """What both commands ask for, as it was written."""

    inputs: list[str] | None
    target: str | None
    batches: str | None
    loss: str | None
    optimizer: str | None
    lr: float | None
    steps: int | None
    seed: int | None


class Setting(NamedTuple):
    """What both commands run torch with."""

    module: "torch.nn.Module"
    batches: list[Any]
    steps: int
    seed: int


@app.command(DEFAULT, help=HELP)
def compare(
    reference: Annotated[
        str,
        typer.Argument(metavar="TORCH_FACTORY", help="Left out where a recording stands for it."),
    ],
    candidate: Annotated[str | None, typer.Argument(metavar="JAX_FACTORY")] = None,
    input: Inputs = None,
    target: Target = None,
    batches: Batches = None,
    loss: Loss = None,
    optimizer: Optimizer = None,
    lr: Rate = None,
    steps: Steps = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(help="float64 for meaning, float32 for precision; both if not given."),
    ] = None,
    factor: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN=X", help="Widen budgets, as '*.running_var=10'; repeat it."),
    ] = None,
    seed: Seed = None,
    against: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A recording, instead of torch.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report as a page.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the report as JSON.")] = None,
) -> None:
    """See :data:`HELP`."""
    question = Question(input, target, batches, loss, optimizer, lr, steps, seed)
    _check_suffixes(html, json)
    options = {"precisions": precision or ["float64", "float32"], "factors": _factors(factor)}
    if candidate is not None and against is None:
        report = _live(reference, candidate, question, options)
    elif candidate is None and against is not None:
        report = _recorded(against, reference, question, options)
    else:
        raise ValueError(
            "factories: expected TORCH_FACTORY JAX_FACTORY, or --against FILE JAX_FACTORY, got "
            f"{reference} {candidate or 'alone'}. See fdl parity --help."
        )
    console = Console()
    console.print(report)
    for path in (html, json):
        if path is not None:
            console.print(
                f"wrote {report.save(path)}", markup=False, highlight=False, soft_wrap=True
            )
    raise typer.Exit(report.exit_code)


@app.command(help=RECORD_HELP)
def record(
    factory: Annotated[str, typer.Argument(metavar="TORCH_FACTORY")],
    path: Annotated[Path, typer.Argument(metavar="FILE")],
    input: Inputs = None,
    target: Target = None,
    batches: Batches = None,
    loss: Loss = None,
    optimizer: Optimizer = None,
    lr: Rate = None,
    steps: Steps = None,
    seed: Seed = None,
) -> None:
    """See :data:`RECORD_HELP`."""
    from fdl import parity
    from fdl._files import replacing
    from fdl.parity import _named
    from fdl.parity._record import Store

    question = Question(input, target, batches, loss, optimizer, lr, steps, seed)
    setting = _setting(factory, question)
    update = None if optimizer is None else _named.optimizers(optimizer, lr, "torch")[0]
    options = {"loss": _named.losses(_needed(loss))[0], "optimizer": update, "steps": setting.steps}
    with _progress("running torch"), replacing(path) as temporary:
        parity.record(setting.module, temporary, setting.batches, **options, seed=setting.seed)
        Store(temporary).write_note(NOTE, {"loss": loss, "optimizer": optimizer, "lr": lr})
    size = path.stat().st_size / 1e6
    Console().print(f"wrote {path} ({size:.3g} MB)", markup=False, highlight=False, soft_wrap=True)


def _live(torch_factory: str, jax_factory: str, question: Question, options: Arguments) -> "Report":
    from fdl import parity
    from fdl.parity import _named

    loss = _named.losses(_needed(question.loss))
    if len(loss) != 2:
        raise ValueError(
            f"--loss: expected pkg.mod:torch_loss,pkg.mod:jax_loss, got {question.loss!r} alone. "
            "Add JAX's after a comma."
        )
    shared = loss[0] if isinstance(loss[0], str) else tuple(loss)
    setting = _setting(torch_factory, question)
    name = question.optimizer
    update = None if name is None else tuple(_named.optimizers(name, question.lr))
    side = _named.candidate(jax_factory)
    options = {**options, **side, "loss": shared, "optimizer": update, "steps": setting.steps}
    with _progress("running torch and the candidate"):
        return parity.compare(setting.module, batches=setting.batches, seed=setting.seed, **options)


def _recorded(path: Path, jax_factory: str, question: Question, options: Arguments) -> "Report":
    from fdl import parity
    from fdl.parity import _named
    from fdl.parity._reference import opened

    _named.import_from_here()
    recorded = opened(path)
    given = {"--input": question.inputs, "--target": question.target, "--steps": question.steps}
    given |= {"--batches": question.batches, "--seed": question.seed}
    if taken := [option for option, value in given.items() if value is not None]:
        raise ValueError(
            f"{', '.join(taken)}: expected none, since the recording {path} has its own. Leave "
            "them out, or record anew."
        )
    question = _completed(question, recorded.store)
    optimizer = question.optimizer
    if recorded.plan.updates and optimizer is None:
        raise ValueError(
            f"--optimizer: expected one, since the recording {path} was made with "
            f"{recorded.anatomy.optimizer}. Pass --optimizer."
        )
    update = None if optimizer is None else _named.optimizers(optimizer, question.lr, "jax")[1]
    options = {**options, **_named.candidate(jax_factory), "optimizer": update}
    with _progress("running the candidate"):
        return parity.compare(path, loss=_named.losses(_needed(question.loss))[-1], **options)


def _completed(question: Question, store: Any) -> Question:
    """Loss and optimizer of the recording, where the command line names no other."""
    try:
        note = store.read_note(NOTE)
    except KeyError:  # made from Python
        return question
    loss = question.loss or note["loss"]
    if question.optimizer is not None:
        return question._replace(loss=loss)
    lr = note["lr"] if question.lr is None else question.lr
    return question._replace(loss=loss, optimizer=note["optimizer"], lr=lr)


def _setting(factory: str, question: Question) -> Setting:
    """Torch's network and the batches."""
    from fdl._checks import require
    from fdl.parity import _named

    torch = require("torch", extra="torch", purpose="fdl parity without --against")
    _named.import_from_here()
    seed = question.seed or 0
    torch.manual_seed(seed)
    module = _named.made("the reference", factory)
    if not isinstance(module, torch.nn.Module):
        raise ValueError(
            f"the reference {factory}: expected a torch.nn.Module, got {type(module).__name__}. "
            "Torch's factory comes first, JAX's second."
        )
    return Setting(module, _batches(module, question, seed), question.steps or 1, seed)


def _batches(module: "torch.nn.Module", question: Question, seed: int) -> list[Any]:
    from fdl.parity import _inputs, _named

    if (question.batches is None) == (question.inputs is None):
        raise ValueError(
            "--input: expected --input 'f32[8,3,32,32]' or --batches pkg.mod:function, got "
            f"{'neither' if question.batches is None else 'both'}. Pass one of them."
        )
    if question.batches is not None:
        batches = list(_named.made("--batches", question.batches))
        if not all(isinstance(b, tuple | list) for b in batches):
            raise ValueError(
                f"--batches {question.batches}: expected a list of (*inputs, target), got "
                f"{[type(b).__name__ for b in batches]} in it. Wrap each batch into a tuple."
            )
        return batches
    specs = [_inputs.parse("--input", text) for text in question.inputs or []]
    if question.target is not None:
        target = _inputs.parse("--target", question.target)
    else:
        target = _inputs.guessed_target(module, specs, question.loss, seed)
        Console(stderr=True).print(
            f"--target {target}, guessed", markup=False, highlight=False, soft_wrap=True
        )
    return _inputs.drawn([*specs, target], seed)


def _progress(what: str) -> Any:
    return Console(stderr=True).status(what)


def _needed(loss: str | None) -> str:
    if loss is None:
        raise ValueError("--loss: expected one, got none. Pass it, as --loss cross_entropy.")
    return loss


def _factors(texts: list[str] | None) -> dict[str, float]:
    factors = {}
    for text in texts or []:
        pattern, _, number = text.rpartition("=")
        try:
            factors[pattern] = float(number)
        except ValueError:
            pattern = ""
        if not pattern:
            raise ValueError(
                f"--factor: expected pattern=number, got {text!r}. Write it as '*.running_var=10'."
            )
    return factors


def _check_suffixes(html: Path | None, json: Path | None) -> None:
    for path, suffix in ((html, ".html"), (json, ".json")):
        if path is not None and path.suffix != suffix:
            raise ValueError(
                f"--{suffix[1:]}: expected a name that ends in {suffix}, got '{path}'. Rename it."
            )
