"""Published weights into a model: names without their wrappers, every tensor accounted for."""

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from fdl._types import Buffers, Model, Params
from fdl.interop.checkpoint import Arrays, read_checkpoint
from fdl.interop.state_dict import divide
from fdl.interop.tensors import from_numpy
from fdl.models._remedies import remedies_for, starts

WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What torch's wrappers put into names, at any depth; no layer is called so."""

PARALLEL = "module."
"""What DataParallel and AveragedModel put before all names."""

COUNT = "num_batches_tracked"
"""The buffer that batch norms have since torch 0.4.1."""


def pretrained(
    path: str | os.PathLike[str],
    *,
    like: Model,
    ignore: Sequence[str] = (),
    fresh: Sequence[str] = (),
    key: jax.Array | None = None,
    dtype: DTypeLike | None = None,
) -> tuple[Params, Buffers]:
    """Reads a file of published weights into the parameters and buffers of a model.

    Names are first brought to the model's: what ``torch.compile``, FSDP, activation checkpointing
    and DataParallel put into them goes, and then the one prefix that makes most names fit is taken
    off or put on, such as ``model.`` or ``bert.``. After that every tensor of the model must be in
    the file, and every tensor of the file in the model, with these exceptions:

    - ``num_batches_tracked``, missing from files of before torch 0.4.1, is 0, as in torch;
    - ``position_ids`` that count 0, 1, 2, ... and ``token_type_ids`` of zeros, which older
      transformers wrote, and the ``n_averaged`` of ``torch.optim.swa_utils`` are no weights;
    - ``gamma`` and ``beta`` of the first BERT files are ``weight`` and ``bias``;
    - a tied tensor may come under any of its names.

    Args:
        path: as :func:`fdl.interop.read_checkpoint` takes it: ``.pt``, ``.pth``, ``.safetensors``.
        like: the model that the weights are for.
        ignore: patterns, as in a shell, of names in the file that the model does not need. They are
            matched after prefixes are gone, where errors show them.
        fresh: patterns of the model's names to draw anew, whatever the file has: a head for other
            classes, or one that the file lacks.
        key: what `fresh` is drawn from.
        dtype: of the floating tensors; None is that of the model's own ``init``, to which torch's
            ``load_state_dict`` too casts what a file has in half or double precision.

    Returns:
        ``(params, buffers)``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file cannot be read, or any key is missing, unexpected or misshapen: one
            error lists all, and says what to do, also for another number of classes; if a pattern
            matches nothing; if `fresh` comes without `key`.
        TypeError: if an integer stands where the model has a float.

    Example:
        >>> import fdl, jax, tempfile, torch
        >>> path = f"{tempfile.mkdtemp()}/digits.pt"
        >>> twin = torch.nn.Sequential(
        ...     torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 10)
        ... )
        >>> torch.save({"epoch": 3, "state_dict": torch.nn.DataParallel(twin).state_dict()}, path)
        >>> params, buffers = fdl.models.pretrained(path, like=fdl.models.mlp([4, 8, 10]))
        >>> new = fdl.models.mlp([4, 8, 2])  # two classes of one's own
        >>> params, buffers = fdl.models.pretrained(
        ...     path, like=new, fresh=["2.*"], key=jax.random.key(0)
        ... )
        >>> params["2.weight"].shape
        (2, 8)

    Torch: ``module.load_state_dict(torch.load(path, weights_only=True))``, and what people write
    around it.
    """
    expected = _expected(like)
    names = {*expected, *like.tied}
    _check_patterns("fresh", fresh, names)
    if fresh and key is None:
        raise ValueError(
            "pretrained: key: expected a jax.random.key to draw fresh tensors from, got None."
        )
    found = _renamed(read_checkpoint(path), names)
    _check_patterns("ignore", ignore, found)
    left = {
        name
        for name, array in found.items()
        if _matches(name, fresh)
        or (name not in names and (_matches(name, ignore) or _is_extra(name, array)))
    }
    taken = {name: array for name, array in found.items() if name not in left}
    taken |= _counts(taken, expected)
    if key is not None:
        drawn = {name: array for part in like.init(key) for name, array in part.items()}
        taken |= {name: np.asarray(drawn[name]) for name in expected if _matches(name, fresh)}
    try:
        return divide(str(path), _cast(taken, expected, like.tied, dtype), like)
    except ValueError as error:
        remedies = " ".join(remedies_for(taken, expected, like.tied))
        raise ValueError(f"{error} {remedies}") from error


def _expected(like: Model) -> dict[str, Any]:
    params, buffers = jax.eval_shape(like.init, jax.random.key(0))
    return {**params, **buffers}


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _check_patterns(argument: str, patterns: Sequence[str], names: Collection[str]) -> None:
    if isinstance(patterns, str):
        raise TypeError(
            f"pretrained: {argument}: expected a list of patterns, got the string {patterns!r}. "
            f"Write [{patterns!r}]."
        )
    idle = [p for p in patterns if not any(fnmatchcase(name, p) for name in names)]
    if idle:
        raise ValueError(
            f"pretrained: {argument}: expected patterns that match whole names, got {idle}, which "
            f"match none of {sorted(names)}."
        )


def _renamed(arrays: Arrays, known: Collection[str]) -> Arrays:
    """The file's tensors under the model's names, where these can be told."""
    plain = {_unwrapped(name): array for name, array in arrays.items()}
    if len(plain) < len(arrays):
        raise ValueError(
            f"pretrained: expected one tensor for each name, got {sorted(arrays)}, of which some "
            f"are equal without {', '.join(WRAPPERS)}."
        )
    if all(name.startswith(PARALLEL) for name in plain):
        plain = {name.removeprefix(PARALLEL): array for name, array in plain.items()}
    if not any(name.endswith((".gamma", ".beta")) for name in known):
        plain = {_modern(name): array for name, array in plain.items()}
    off, on = _prefixes(plain, known)

    def fitted(name: str) -> str:
        new = on + name.removeprefix(off)
        return new if new in known and new not in plain else name

    return {fitted(name): array for name, array in plain.items()}


def _unwrapped(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def _modern(name: str) -> str:
    """Names of the first BERT files as they are today."""
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _prefixes(names: Collection[str], known: Collection[str]) -> tuple[str, str]:
    """What taken off names, or put on them, makes most of them known."""
    votes = Counter({("", ""): sum(name in known for name in names)})
    votes.update((off, "") for name in names for off in starts(name) if name[len(off) :] in known)
    votes.update(("", on) for name in known for on in starts(name) if name[len(on) :] in names)
    return max(votes, key=votes.__getitem__)  # the first of the best: none, where that is as good


def _is_extra(name: str, array: np.ndarray) -> bool:
    """Whether it is one of the tensors that are written without being weights."""
    match name.rpartition(".")[2]:
        case "position_ids":
            return bool((array == np.arange(array.shape[-1])).all())
        case "token_type_ids":
            return not array.any()
        case "n_averaged":
            return array.ndim == 0
    return False


def _counts(taken: Arrays, expected: Mapping[str, Any]) -> Arrays:
    """Zeros for the counts of batch norms, where a file has none at all."""
    counts = {name for name in expected if name.rpartition(".")[2] == COUNT}
    if counts & taken.keys():
        return {}
    return {name: np.zeros(expected[name].shape, expected[name].dtype) for name in counts}


def _cast(
    taken: Arrays, expected: Mapping[str, Any], tied: Mapping[str, str], dtype: DTypeLike | None
) -> dict[str, Any]:
    """Arrays for JAX, floats in the dtype asked for; what the model does not know stays."""

    def cast(name: str, array: np.ndarray) -> Any:
        known = expected.get(tied.get(name, name))
        if known is None:
            return array
        if jnp.issubdtype(array.dtype, jnp.floating):
            array = array.astype(known.dtype if dtype is None else dtype)
        return from_numpy(name, array)

    return {name: cast(name, array) for name, array in taken.items()}
