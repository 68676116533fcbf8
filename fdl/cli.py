"""The command line: ``fdl demo``, ``fdl bench`` and ``fdl parity``."""

import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

app = typer.Typer(
    help="PyTorch's models and optimizers as pure functions in JAX, proven equal.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
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


@app.command()
def bench(
    families: Annotated[
        list[str] | None, typer.Argument(help="mlp, cnn, lstm, autoencoder; all if none is named.")
    ] = None,
    out: Out = Path("runs/bench"),
    blocks: Annotated[int, typer.Option(min=3, help="Timed blocks of each variant.")] = 9,
) -> None:
    """Time jax eager, jax jit, torch eager and torch.compile in turns, after checking equality."""
    from fdl import bench as suite

    console = Console()
    report = suite.run(families, blocks=blocks)
    console.print(report)
    for path in report.save(out):
        console.print(f"wrote {path}")


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


def main() -> None:
    """Runs the command line; bad input ends in one line and exit code 2, not in a traceback."""
    try:
        app()
    except (ValueError, OSError, ImportError) as error:
        message = escape(str(error))
        Console(stderr=True).print(f"[bold red]error[/] {message}", highlight=False, soft_wrap=True)
        raise SystemExit(2) from error
    except Exception as error:
        traceback.print_exc()
        raise SystemExit(2) from error  # 1 would say "different"
