"""Runs the suite of :mod:`fdl.bench`, prints its tables, and saves them with pictures.

Results are saved after each workload, so that an interrupted run can be continued: with
``--merge`` and ``--only`` those of the other workloads are kept. With ``--publish`` it also writes
benchmarks/results.json, the pictures in docs/images/speed and the figures in README.md and
benchmarks/README.md. ``--redraw`` does so from the results that are there. On a machine beside the
one that is shown, ``--elsewhere`` keeps both: its results go to a file named after its processor in
benchmarks/elsewhere, and its ratios to the pages.
"""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import overhead, pages, scaling
from fdl import bench
from fdl._files import replacing
from fdl.bench._merging import merged
from fdl.bench.environment import environment

HERE = ""
"""``--merge`` without a file."""


def main(given: Sequence[str] | None = None) -> None:
    """Parses the command line and runs."""
    arguments = _parser().parse_args(given)
    if arguments.redraw:
        _draw_pages()
        return
    older = _older(arguments)
    report = bench.run(
        arguments.only,
        phases=arguments.phases,
        variants=arguments.variants,
        dtype=arguments.dtype,
        each=lambda so_far: merged(older, so_far).write(arguments.out),
        blocks=arguments.blocks,
        seconds=arguments.seconds,
        attempts=arguments.attempts,
        memory=arguments.memory,
    )
    report = merged(older, report)
    console = Console()
    console.width = max(console.width, 120)  # a file or a pipe has 80
    console.print(report)
    console.print("saved", *map(str, report.save(arguments.out)))
    if arguments.elsewhere:
        publish_elsewhere(report)
    elif arguments.publish:
        publish(report, beside=arguments.beside)
    if report.problems():
        raise SystemExit(1)


def publish(report: bench.BenchReport, *, beside: bool) -> None:
    """Writes everything that is committed; measures scaling and overhead too if `beside` is set.

    What was measured beside an earlier report is kept otherwise.
    """
    results = report.to_dict() | _measured_beside(report)
    _write(results, pages.RESULTS)
    if beside:
        results["overhead"] = overhead.measure()._asdict()
        _write(results, pages.RESULTS)
        results["scaling"] = [sweep._asdict() for sweep in scaling.measure()]
        _write(results, pages.RESULTS)
    _draw_pages()


def publish_elsewhere(report: bench.BenchReport) -> None:
    """Writes a report beside the published one, as another machine's, and the pages."""
    name = re.sub(r"[^a-z0-9]+", "-", str(report.environment["cpu"]).lower()).strip("-")
    pages.ELSEWHERE.mkdir(exist_ok=True)
    _write(report.to_dict(), pages.ELSEWHERE / f"{name}.json")
    pages.write_pages()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--out", default="runs/bench", help="folder for bench.json and pictures")
    parser.add_argument("--only", nargs="+", choices=bench.WORKLOADS, metavar="WORKLOAD")
    parser.add_argument("--phases", nargs="+", choices=bench.PHASES, default=bench.PHASES)
    parser.add_argument("--variants", nargs="+", choices=bench.VARIANTS, metavar="VARIANT")
    parser.add_argument("--dtype", default="float32", help="or bfloat16")
    parser.add_argument("--blocks", type=int, default=9, help="timed blocks of each variant")
    parser.add_argument("--seconds", type=float, default=2.0, help="of timing, for slow variants")
    parser.add_argument("--attempts", type=int, default=1, help="on a busy machine")
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument(
        "--merge",
        nargs="?",
        const=HERE,
        metavar="JSON",
        help="keep the other results of this file; without a name, of bench.json in --out",
    )
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--publish", action="store_true", help="write results.json and the pages")
    parser.add_argument(
        "--beside",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="with --publish: measure scaling and overhead too",
    )
    ways.add_argument(
        "--elsewhere", action="store_true", help="publish beside the machine that is shown"
    )
    ways.add_argument("--redraw", action="store_true", help="pages and pictures alone")
    return parser


def _older(arguments: argparse.Namespace) -> bench.BenchReport:
    """The results to merge into; before anything is measured, it is seen whether they fit."""
    if arguments.merge is None:
        return bench.BenchReport([], {})
    path = Path(arguments.merge or Path(arguments.out, "bench.json"))
    if not path.is_file():
        raise SystemExit(
            f"--merge: expected results in {path}, found no file. Run without --merge."
        )
    older = bench.BenchReport.from_dict(json.loads(path.read_text(encoding="utf-8")))
    merged(older, bench.BenchReport([], environment()))
    return older


def _measured_beside(report: bench.BenchReport) -> dict[str, Any]:
    """What the published results hold beside a report, if they come from the same machine."""
    if not pages.RESULTS.is_file():
        return {}
    found = json.loads(pages.RESULTS.read_text(encoding="utf-8"))
    try:
        merged(bench.BenchReport.from_dict(found), report)
    except ValueError:
        return {}
    return {name: found[name] for name in ("scaling", "overhead") if name in found}


def _write(results: dict[str, Any], path: Path) -> None:
    with replacing(path) as temporary:
        text = json.dumps(results, indent=1, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def _draw_pages() -> None:
    results = json.loads(pages.RESULTS.read_text(encoding="utf-8"))
    bench.BenchReport.from_dict(results).draw(pages.IMAGES)
    pages.write_pages()
