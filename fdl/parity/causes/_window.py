"""Which calls of torch functions may be at fault, given the first tensor that differs."""

from collections.abc import Mapping, Sequence

from fdl.parity._calls import Site
from fdl.parity._locate import innermost
from fdl.parity._record import module_of, owner_of
from fdl.parity._torch_side import Pass
from fdl.parity.report import Row


def suspected(row: Row, run: Pass, shown: Sequence[str], aliases: Mapping[str, str]) -> list[Site]:
    """The calls between the last tensor that is known to be right and the first that is wrong.

    Args:
        row: the first row beyond its budget.
        run: the pass through torch.
        shown: names of the activations that were compared.
        aliases: further keys of tied tensors, and the key that stands for them.
    """
    sites, spans = run.calls.sites, run.capture.spans
    heard = {name.partition(":")[0] for name in shown}
    if row.phase == "loss":
        return [site for site in sites if site.phase == "loss"]
    if row.kind in ("activation", "output", "mask"):
        return _forward(row, run, heard)
    if row.kind == "activation gradient":
        consumers = innermost(run.capture.consumers.get(row.name, []))
        parent = row.module.rpartition(".")[0]
        start = spans[row.name.partition(":")[0]][1]
        ends = [spans[call][1] for call in spans if module_of(call) in consumers]
        end = max(ends, default=len(sites))
        return [s for s in sites[start:end] if s.module in (*consumers, parent) or not consumers]
    if row.kind == "input gradient":
        consumers = innermost(run.capture.consumers.get(f"input {row.name}", []))
        return [site for site in sites if not consumers or site.module in consumers]
    owners = {row.module, *(owner_of(key) for key, name in aliases.items() if name == row.name)}
    owned = [site for site in sites if site.module in owners]
    return owned if heard or row.phase == "buffer" else [*sites]


def _forward(row: Row, run: Pass, heard: set[str]) -> list[Site]:
    """Calls since the last tensor that is right, and before it those of containers still running.

    What the code of a container computes between its modules shows in no module's output until it
    is used.
    """
    sites, spans = run.calls.sites, run.capture.spans
    calls = list(spans)
    position = calls.index(row.name.partition(":")[0]) if row.kind == "activation" else -1
    begin, end = spans[calls[position]]
    start = max((spans[call][1] for call in calls[:position] if call in heard), default=0)
    running = {module_of(call) for call in calls if spans[call][0] <= begin < spans[call][1]}
    return [
        site
        for site in sites[:end]
        if site.phase == "forward" and (site.index >= start or site.module in running)
    ]
