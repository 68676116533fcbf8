"""What can be done about published weights that do not fit a model."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

Shapes = Mapping[str, Any]
"""Name to anything with a ``shape``."""

DRAWN = "key=jax.random.key(0)"


def starts(name: str) -> Iterator[str]:
    """Every prefix of a name that ends in a dot, the shortest first."""
    return (name[: place + 1] for place, letter in enumerate(name) if letter == ".")


def remedies_for(got: Shapes, expected: Shapes, tied: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each kind of misfit that can be helped.

    Args:
        got: the file's tensors.
        expected: the model's.
        tied: the model's further names.
    """
    wrong = [name for name in expected if name in got and got[name].shape != expected[name].shape]
    if (classes := _classes(wrong, got, expected)) is not None:
        yield _other_classes(*classes, _modules(wrong, expected))
    present = {tied.get(name, name) for name in got}
    if missing := [name for name in expected if name not in present]:
        yield (
            "What the file lacks, such as a new head, is drawn by "
            f"pretrained(..., fresh={_patterns(_modules(missing, present))}, {DRAWN})."
        )
    if unexpected := [name for name in got if name not in expected and name not in tied]:
        yield (
            "What the model does not need is left out by "
            f"pretrained(..., ignore={_patterns(_modules(unexpected, expected))})."
        )


def _classes(wrong: Sequence[str], got: Shapes, expected: Shapes) -> tuple[int, int] | None:
    """The numbers of outputs of the file and the model, if nothing but these differs."""
    pairs = {(*got[name].shape[:1], *expected[name].shape[:1]) for name in wrong}
    same = all(got[name].shape[1:] == expected[name].shape[1:] for name in wrong)
    biased = any(name.endswith("bias") for name in wrong)  # a vocabulary has none
    return pairs.pop() if len(pairs) == 1 and same and biased else None


def _other_classes(theirs: int, ours: int, heads: Sequence[str]) -> str:
    named = ", ".join(head.removesuffix(".") for head in heads)
    return (
        f"The file is of {theirs} classes, the outputs of {named}, this model of {ours}. To swap "
        f"the head: pretrained(..., fresh={_patterns(heads)}, {DRAWN}); or build the model with "
        f"{theirs} classes, load, and call fdl.models.surgery.replace_head(params, buffers, "
        f"like=<the model with {ours}>, head={heads[0].removesuffix('.')!r}, {DRAWN})."
    )


def _modules(names: Sequence[str], others: Collection[str]) -> list[str]:
    """The outermost modules with some of these names and none of the others, each with its dot.

    A tensor of the network itself stands for itself.
    """
    rest = [name for name in others if name not in names]

    def outermost(name: str) -> str:
        alone = (s for s in starts(name) if not any(other.startswith(s) for other in rest))
        return next(alone, name)

    return list(dict.fromkeys(map(outermost, names)))


def _patterns(modules: Sequence[str]) -> list[str]:
    return [f"{module}*" if module.endswith(".") else module for module in modules]
