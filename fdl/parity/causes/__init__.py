"""Why two networks part: hypotheses, each tried on the numbers, never on a name alone.

A call of a torch function is changed as a wrong port may have changed it, torch is run again, and
if it then computes what the candidate did, that is the cause. Updates of parameters are recomputed
from the candidate's own gradients. Where neither explains anything, the two tensors are looked at.
"""

import importlib.util

from fdl.parity._run import Evidence, Run
from fdl.parity.causes._customised import customised
from fdl.parity.causes._relations import related
from fdl.parity.causes._updates import updated
from fdl.parity.report import Cause


def explain(run: Run, evidence: Evidence) -> list[Cause]:
    """All hypotheses that explain the first difference, likeliest first."""
    first = evidence.first
    causes: list[Cause] = []
    if first.phase == "update" and run.reference.anatomy.optimizer:
        causes += updated(evidence, run.reference.anatomy, run.reference.options())
    elif evidence.judged:
        causes += [*customised(run, evidence), *_tried(run, evidence)]
    return causes + related(evidence)


def _tried(run: Run, evidence: Evidence) -> list[Cause]:
    """Hypotheses about torch's calls; none if the reference is a recording."""
    if importlib.util.find_spec("torch") is None:
        return []
    from fdl.parity._live import Live
    from fdl.parity.causes._trial import tried
    from fdl.parity.causes._window import suspected

    if not isinstance(run.reference, Live):
        return []
    shown = [q.name for q in evidence.got if q.kind == "activation"]
    again = run.reference.again(evidence.index, backward=False)
    sites = suspected(evidence.first, again, shown, run.reference.anatomy.aliases)
    return tried(run.reference, evidence, sites, run.tolerance)
