"""The command line: ``fdl demo`` and ``fdl bench``."""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

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


def main() -> None:
    """Runs the command line; bad input ends in one line and exit code 2, not in a traceback."""
    try:
        app()
    except (ValueError, FileNotFoundError, ImportError) as error:
        Console(stderr=True).print(f"[bold red]error[/] {error}", highlight=False)
        raise SystemExit(2) from error
