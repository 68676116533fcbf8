"""L-BFGS's state: torch flattens the parameters in its own order, JAX in the sorted one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from fdl.interop.tensors import to_jax, to_tensor
from fdl.optim import LBFGSState

if TYPE_CHECKING:
    import torch

VECTORS = ("d", "prev_flat_grad")
PAIRS = ("old_dirs", "old_stps", "ro")
NUMBERS = ("t", "H_diag", "prev_loss")
EVALUATIONS = ("func_evals", "n_iter")


def from_torch(
    entry: dict[str, Any], state: LBFGSState, sizes: dict[str, int], steps: int
) -> LBFGSState:
    """Torch's state in fdl's arrays; `sizes` are of the parameters, in torch's order."""
    order = _order(sizes)

    def flat(tensor: torch.Tensor) -> jax.Array:
        return to_jax(tensor).astype(state.d.dtype)[order]

    found: dict[str, Any] = {key: entry[key] for key in EVALUATIONS}
    if entry["n_iter"]:
        kept = len(entry["ro"])
        found |= {key: flat(entry[key]) for key in VECTORS}
        found |= {key: float(entry[key]) for key in NUMBERS}
        rows = {key: [flat(row) for row in entry[key]] for key in PAIRS[:2]}
        rows["ro"] = [to_jax(value).astype(state.ro.dtype) for value in entry["ro"]]
        if kept:
            found |= {key: getattr(state, key).at[:kept].set(jnp.stack(rows[key])) for key in PAIRS}
        found["num_old"] = kept
    found["step"] = steps
    return state._replace(
        **{key: jnp.asarray(value, getattr(state, key).dtype) for key, value in found.items()}
    )


def to_torch(state: LBFGSState, sizes: dict[str, int]) -> dict[str, Any]:
    """Fdl's state in torch's numbers and lists; `sizes` are of the parameters, in torch's order."""
    if not state.func_evals:
        return {}
    found: dict[str, Any] = {key: int(getattr(state, key)) for key in EVALUATIONS}
    if not state.n_iter:
        return found
    back = np.argsort(_order(sizes))
    kept, size = int(state.num_old), len(state.ro)
    rows = np.arange(max(0, kept - size), kept) % size
    found |= {key: to_tensor(getattr(state, key)[back]) for key in VECTORS}
    found |= {key: [to_tensor(getattr(state, key)[row][back]) for row in rows] for key in PAIRS[:2]}
    found["ro"] = [to_tensor(state.ro[row]) for row in rows]
    found |= {"t": float(state.t), "prev_loss": float(state.prev_loss)}
    return found | {"H_diag": to_tensor(state.H_diag)}


def _order(sizes: dict[str, int]) -> np.ndarray:
    """Where each element of JAX's flat vector stands in torch's."""
    ends = np.cumsum([*sizes.values()])
    places = dict(zip(sizes, np.split(np.arange(sum(sizes.values())), ends[:-1]), strict=True))
    return np.concatenate([places[name] for name in sorted(sizes)])
