"""``torch.optim`` as Optax transforms: torch's arguments, defaults and arithmetic."""

from fdl.optim.adam import AdamState, adam, adamw
from fdl.optim.sgd import SGDState, sgd

__all__ = ["AdamState", "SGDState", "adam", "adamw", "sgd"]
