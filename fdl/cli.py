"""The command line: ``fdl demo``, ``fdl bench`` and ``fdl parity``."""

import os
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

CACHE = "JAX_COMPILATION_CACHE_DIR"

app = typer.Typer(
    help=(
        "PyTorch's models and optimizers as pure functions in JAX, proven equal.\n\n"
        f"Compiled programs are kept in ~/.cache/fdl for the next run; {CACHE} names another "
        "folder, or none if it is empty. With glibc, freed memory is kept for the next step: see "
        "fdl.keep_memory; FDL_KEEP_MEMORY=0 leaves the allocator as it is."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

WORKLOADS = (
    "mlp_b32, mlp, mlp_b1024, autoencoder, conv_autoencoder, cnn, alexnet, resnet18_64, "
    "resnet18_224, mobilenet_v2, rnn, gru, lstm, bert_mini, minilm, adamw"
)
VARIANTS = "jax eager, jax jit, jax jit x16, torch eager, torch.compile, flax nnx, flax linen"

BENCH_HELP = (
    "Time fdl in JAX, PyTorch and Flax in turns, after checking that all compute the same.\n\n"
    "\b\n"
    "[bold]Examples[/]\n"
    "  fdl bench mlp resnet18_64 --phase training\n"
    "  fdl bench mlp --batch 32 --batch 128 --batch 512\n"
    "A function of your own, jitted against eager; without --input, fn() is\n"
    "called once and returns (function, *arguments):\n"
    "  fdl bench --mine pkg.mod:fn --input 'f32[8,32]'\n\n"
    "[bold]Exit codes[/]: 0, or 1 if a variant failed or computes something else.\n\n"
    "What stands in the tables: benchmarks/README.md."
)

Out = Annotated[Path, typer.Option(help="Folder for figures, pictures and weights.")]


@app.callback(invoke_without_command=True)
def _root(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.")
    ] = False,
) -> None:
    if show_version:
        typer.echo(f"fdl {version('fdl')}")
        raise typer.Exit


@app.command()
def demo(
    out: Out = Path("runs/demo"),
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of IDX files (MNIST, Fashion-MNIST); else the built-in digits."),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training digits.")] = 12,
    seed: Annotated[int, typer.Option(help="Of split, weights, order and dropout.")] = 0,
) -> None:
    """Prove a CNN equal to torch's on real digits, train it, time it, hand it back to torch."""
    from fdl import demo as main_job

    main_job.run(out, path=data, epochs=epochs, seed=seed)


@app.command(help=BENCH_HELP)
def bench(
    workloads: Annotated[
        list[str] | None,
        typer.Argument(help=f"Which; all if none is named: {WORKLOADS}.", show_default=False),
    ] = None,
    out: Out = Path("runs/bench"),
    phases: Annotated[
        list[str] | None, typer.Option("--phase", help="training or inference; repeat it.")
    ] = None,
    variants: Annotated[
        list[str] | None, typer.Option("--variant", help=f"One of {VARIANTS}; repeat it.")
    ] = None,
    batches: Annotated[
        list[int] | None, typer.Option("--batch", min=1, help="Rows of a batch; repeat to sweep.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, or bfloat16.")] = "float32",
    blocks: Annotated[int, typer.Option(min=3, help="Timed blocks of each variant.")] = 9,
    memory: Annotated[
        bool, typer.Option(help="Also measure the peak memory of training steps.")
    ] = False,
    mine: Annotated[
        str | None,
        typer.Option(
            metavar="PKG.MOD:FN", help="Time a function of your own instead, jitted against eager."
        ),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="SPEC", help="An argument of it, as 'f32\\[8,32]'."),
    ] = None,
) -> None:
    """Times fdl beside PyTorch and Flax, or a function of the user's own."""
    console = Console()
    if mine is not None:
        from fdl.bench import mine as own

        console.print(own.shown(mine, own.mine(mine, inputs or (), blocks=blocks)))
        return
    from fdl import bench as suite

    report = suite.run(
        workloads,
        phases=phases or suite.PHASES,
        variants=variants,
        batches=batches or (),
        dtype=dtype,
        blocks=blocks,
        memory=memory,
        each=lambda so_far: so_far.write(out),
    )
    console.print(report)
    for path in report.save(out):
        console.print(f"wrote {path}")
    if report.problems():
        raise typer.Exit(1)


@app.command(
    add_help_option=False,
    context_settings={
        "allow_extra_args": True,
        "allow_interspersed_args": False,
        "ignore_unknown_options": True,
    },
)
def parity(context: typer.Context) -> None:
    """Find the first place where a JAX network leaves PyTorch, and why; or that there is none."""
    from fdl.parity import cli  # imports jax: `fdl --help` need not wait for it

    command = typer.main.get_command(cli.app)
    with command.make_context("parity", context.args, parent=context.parent) as inner:
        command.invoke(inner)


def prepare() -> None:
    """Sets up the process before JAX is imported: its compilation cache and its allocator."""
    from fdl import keep_memory

    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    os.environ.setdefault(CACHE, str(home / "fdl" / "jax"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    if os.environ.get("FDL_KEEP_MEMORY") != "0":
        keep_memory()


def main() -> None:
    """Runs the command line; bad input ends in one line and exit code 2, not in a traceback."""
    prepare()
    try:
        app()
    except (ValueError, OSError, ImportError) as error:
        message = escape(str(error))
        Console(stderr=True).print(f"[bold red]error[/] {message}", highlight=False, soft_wrap=True)
        raise SystemExit(2) from error
    except Exception as error:
        traceback.print_exc()
        raise SystemExit(2) from error  # 1 would say "different"
