"""The tables of figures in README.md and benchmarks/README.md, from the committed results."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.overhead import Overhead
from benchmarks.scaling import SIDES, Scaling, rows
from fdl._files import replacing
from fdl.bench import BenchReport, Measurement
from fdl.bench import ratios as compared
from fdl.bench._tables import milliseconds, peak_in_words, ratio_cells
from fdl.bench.variants import VARIANTS

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results.json"
ELSEWHERE = ROOT / "benchmarks" / "elsewhere"
"""A file for each other machine."""
IMAGES = ROOT / "docs" / "images" / "speed"
BEGIN, END = "<!-- speed: written by `make bench` -->", "<!-- speed ends -->"


def pages() -> dict[Path, str]:
    """Each page that shows figures, with the section that the committed results give."""
    results, *others = (
        json.loads(path.read_text(encoding="utf-8"))
        for path in (RESULTS, *sorted(ELSEWHERE.glob("*.json")))
    )
    return {
        ROOT / "README.md": summary(results, others),
        ROOT / "benchmarks" / "README.md": details(results, others),
    }


def write_pages() -> None:
    """Replaces the sections between the markers."""
    for path, section in pages().items():
        text = with_section(path.read_text(encoding="utf-8"), section)
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def with_section(page: str, section: str) -> str:
    """The page with the section between its markers.

    Raises:
        ValueError: if a marker is missing.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"expected {BEGIN!r} and {END!r} in the page. Put them back.")
    return f"{before}{BEGIN}\n\n{section}\n\n{END}{after}"


def summary(results: Mapping[str, Any], others: Sequence[Mapping[str, Any]] = ()) -> str:
    """The table of README.md: every workload, training and inference, and geometric means.

    Args:
        results: of the machine that is shown.
        others: other machines', of which the means are told.
    """
    blocks = [*_compared(BenchReport.from_dict(results))]
    blocks.append(
        "Times are ms a step or a batch. Ratios are fdl's over the other's, below 1 fdl is faster; "
        "x16 is that of 16 steps in one call, its mean that of the better of the two; "
        "memory is the peak of a training step over torch's, compilation apart. "
        "[Every variant, quartiles, compile times and scaling](benchmarks/README.md#figures)."
    )
    blocks += [_told(BenchReport.from_dict(other)) for other in others]
    blocks.append("![fdl's step over the better torch's](docs/images/speed/ratios.png)")
    return "\n\n".join(blocks)


def details(results: Mapping[str, Any], others: Sequence[Mapping[str, Any]] = ()) -> str:
    """The tables of benchmarks/README.md: all variants, ratios, scaling, overhead, others' ratios.

    Args:
        results: of the machine that is shown.
        others: other machines'.
    """
    report = BenchReport.from_dict(results)
    blocks = [_origin(report)]
    for phase, measurements in report.phases().items():
        variants = [v for v in VARIANTS if any(m.timing(v) for m in measurements)]
        lines = [[_name(m), *(_time(m, v) for v in variants)] for m in measurements]
        blocks.append(_markdown([f"{phase}: ms", *variants], lines))
        compiling = [[_name(m), *(_compile(m, v) for v in variants)] for m in measurements]
        blocks.append(_markdown([f"{phase}: s to compile", *variants], compiling))
        blocks.append(f"![{phase}](../docs/images/speed/{phase}.png)")
        header = [f"{phase}: fdl jit over", "torch's better", "x16 / torch", "NNX", "Linen"]
        header += ["memory / torch", "GFLOP/s", "of peak"]
        lines = [[_name(m), *ratio_cells(report, m)] for m in measurements]
        blocks.append(_markdown(header, lines))
    if peak_in_words(report):
        blocks.append(f"A matrix product reaches {peak_in_words(report)}.")
        blocks.append("![roofline](../docs/images/speed/roofline.png)")
    blocks.append("\n".join(_left_out(report)))
    if results.get("scaling"):
        found = [Scaling(**scaling) for scaling in results["scaling"]]
        header = ["training step: what varies", "sizes"]
        header += [x for side in SIDES for x in (f"{side}, ms", "exponent")]
        blocks.append(_markdown(header, [*rows(found)]))
    if results.get("overhead"):
        blocks.append(_beside(Overhead(**results["overhead"])))
    if others:
        blocks.append("### On other machines")
    for other in others:
        blocks += _compared(BenchReport.from_dict(other))
    return "\n\n".join(block for block in blocks if block)


def _compared(report: BenchReport) -> Iterator[str]:
    """Where a report comes from, and for each phase a table of fdl's times over the others'."""
    yield _origin(report)
    for phase, measurements in report.phases().items():
        training = phase == "training"
        header = [phase, "fdl jit", "torch's better", "ratio", *(["x16"] if training else [])]
        header += ["Flax NNX", "Flax Linen", *(["memory"] if training else [])]
        lines = [[_name(m), *_summary_cells(m, phase)] for m in measurements]
        yield _markdown(header, [*lines, _means(measurements, phase)])


def _told(report: BenchReport) -> str:
    """The geometric means of another machine, in a sentence."""
    means = ", ".join(
        f"{phase} **{_ratio(compared.geometric_mean([compared.ratios(m).torch for m in found]))}**"
        for phase, found in report.phases().items()
    )
    where = report.environment
    return (
        f"On another machine, {where['cpu']}, {where['cores']} cores, the mean ratios are: {means} "
        "([its tables](benchmarks/README.md#on-other-machines))."
    )


def _origin(report: BenchReport) -> str:
    where = report.environment
    versions = ", ".join(
        f"{name} {where[name]}" for name in ("fdl", "jax", "flax", "optax", "torch") if where[name]
    )
    kept = "kept" if where.get("keep_memory") else "not kept"
    return (
        f"Measured {where['date'][:10]}: {where['cpu']}, {where['cores']} cores, "
        f"{where['jax_platform']}, {versions}; freed memory {kept}"
        f"{', on a busy machine' if report.busy() else ''}."
    )


def _summary_cells(measurement: Measurement, phase: str) -> list[str]:
    found = compared.ratios(measurement)
    torch = measurement.timing(found.better)
    cells = [_time(measurement, compared.JIT), milliseconds(torch.median) if torch else ""]
    return cells + [_ratio(number) for number in _shown(found, found.many, phase)]


def _means(measurements: Sequence[Measurement], phase: str) -> list[str]:
    found = [compared.ratios(m) for m in measurements]
    columns = zip(*(_shown(r, r.best, phase) for r in found), strict=True)
    means = [compared.geometric_mean(column) for column in columns]
    return [
        "**geometric mean**",
        "",
        "",
        *(f"**{_ratio(mean)}**" if mean else "" for mean in means),
    ]


def _shown(found: compared.Ratios, many: float | None, phase: str) -> tuple[float | None, ...]:
    if phase == "training":
        return found.torch, many, found.nnx, found.linen, found.memory
    return found.torch, found.nnx, found.linen


def _name(measurement: Measurement) -> str:
    return f"{measurement.workload}: {measurement.sizes}"


def _time(measurement: Measurement, variant: str) -> str:
    timing = measurement.timing(variant)
    if timing is None:
        return ""
    low, median, high = map(milliseconds, timing[1:4])
    return f"{median} ({low}-{high})"


def _compile(measurement: Measurement, variant: str) -> str:
    timing = measurement.timing(variant)
    return f"{timing.compile:.1f}" if timing else ""


def _left_out(report: BenchReport) -> Iterator[str]:
    for m in report.measurements:
        for row in m.rows:
            if row.timing is None:
                yield f"- {m.workload}, {m.phase}, {row.variant}: {row.note}"


def _beside(found: Overhead) -> str:
    listed = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in found.imports.items())
    over = ", ".join(f"{name} {ratio:.2f}" for name, ratio in found.import_ratios().items())
    return (
        f"- A step of mlp with one unit a layer: {found.step * 1e6:.0f} us under jit, "
        f"{found.compiled * 1e6:.0f} us as `jax.stages.Compiled`.\n"
        f"- Imports: {listed}; over jax, flax and optax: {over}.\n"
        f"- First training step of cnn in a new process: {found.cold:.2f} s, from the compilation "
        f"cache {found.cached:.2f} s."
    )


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *lines))
