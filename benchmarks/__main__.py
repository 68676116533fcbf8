"""Runs the suite of :mod:`fdl.bench`, prints its tables, and saves them with pictures."""

import argparse

from rich.console import Console

from fdl import bench


def main() -> None:
    """Parses the command line and runs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--out", default="runs/bench", help="folder for bench.json and pictures")
    parser.add_argument("--only", nargs="+", choices=bench.WORKLOADS, metavar="WORKLOAD")
    parser.add_argument("--blocks", type=int, default=9, help="timed blocks of each variant")
    parser.add_argument("--attempts", type=int, default=2, help="on a busy machine")
    arguments = parser.parse_args()
    report = bench.run(arguments.only, blocks=arguments.blocks, attempts=arguments.attempts)
    console = Console()
    console.print(report)
    console.print("saved", *map(str, report.save(arguments.out)))


if __name__ == "__main__":
    main()
