"""Networks that change: another head, frozen parts, a layer more or less between training steps.

All are functions of a model and its tensors, and give those of another model. The optimizer's state
follows by :func:`carry_opt_state`.
"""

from fdl.models.surgery.carry import Carried, carry_opt_state, carry_over, replace_head
from fdl.models.surgery.freeze import freeze
from fdl.models.surgery.layers import insert_layer, remove_layer, renumber

__all__ = [
    "Carried",
    "carry_opt_state",
    "carry_over",
    "freeze",
    "insert_layer",
    "remove_layer",
    "renumber",
    "replace_head",
]
