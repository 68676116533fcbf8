"""Containers."""

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, Self, overload

from flax import nnx

from fdl.nn._module import Module


class _Container(Module):
    """Modules as attributes, whose names and order are kept beside."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self._names)

    def _modules(self) -> dict[str, nnx.Module]:
        return {name: getattr(self, name) for name in self._names}

    def _add(self, name: str, module: nnx.Module) -> None:
        own = type(self).__name__
        if not isinstance(module, nnx.Module):
            raise TypeError(f"{own}: {name}: expected a module, got {module!r}.")
        if not isinstance(name, str):
            raise TypeError(f"{own}: name: expected a string, got {name!r}.")
        if not name or "." in name or hasattr(self, name):
            raise ValueError(
                f"{own}: name: expected one without a dot that is not yet an attribute, got "
                f"{name!r}. Choose another."
            )
        setattr(self, name, module)
        self._names = (*self._names, name)


class _Listed(_Container):
    """What is indexed by position."""

    def __iter__(self) -> Iterator[nnx.Module]:
        return iter(self._modules().values())

    def __setitem__(self, index: int, module: nnx.Module) -> None:
        setattr(self, self._names[index], module)

    def append(self, module: nnx.Module) -> Self:
        """Adds a module at the end, named by its position."""
        self._add(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[nnx.Module]) -> Self:
        """Adds modules at the end, named by their positions."""
        for module in [*modules]:
            self.append(module)
        return self


class Sequential(_Listed):
    """Applies layers one after another; their names are ``"0"``, ``"1"``, ... as in torch.

    It is indexed, sliced, iterated over, joined with ``+`` and extended as a list.

    Args:
        layers: the layers, or one dict of names to layers. A slice keeps the names.

    Raises:
        TypeError: if a layer is no module.
        ValueError: if a name is empty, has a dot, or is that of an attribute.

    Example:
        >>> import fdl, jax.numpy as jnp
        >>> from flax import nnx
        >>> rngs = nnx.Rngs(0)
        >>> net = fdl.nn.Sequential(fdl.nn.Linear(3, 4, rngs=rngs), fdl.nn.ReLU())
        >>> net(jnp.ones((2, 3))).shape, len(net)
        ((2, 4), 2)

    Torch: ``torch.nn.Sequential``; any dict gives names, not an ``OrderedDict`` alone. Nothing can
    be inserted or deleted: build another from slices.
    """

    def __init__(self, *layers: nnx.Module | Mapping[str, nnx.Module]):
        super().__init__()
        first = layers[0] if len(layers) == 1 else None
        if isinstance(first, Mapping):
            for name, layer in first.items():
                self._add(name, layer)
        else:
            self.extend(layers)  # pyrefly: ignore

    @overload
    def __getitem__(self, index: int) -> nnx.Module: ...
    @overload
    def __getitem__(self, index: slice) -> "Sequential": ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            return Sequential({name: getattr(self, name) for name in self._names[index]})
        return getattr(self, self._names[index])

    def __add__(self, other: "Sequential") -> "Sequential":
        return Sequential(*self, *other)

    def __call__(self, input: Any) -> Any:
        """Feeds `input` through every layer in order."""
        output = input
        for layer in self:
            output = layer(output)
        return output


class ModuleList(_Listed):
    """A list of modules, whose names are ``"0"``, ``"1"``, ... as in torch.

    It is indexed, sliced, iterated over, joined with ``+`` and extended as a list.

    Args:
        modules: the modules, or None for none.

    Raises:
        TypeError: if an element is no module.

    Example:
        >>> import fdl
        >>> layers = fdl.nn.ModuleList([fdl.nn.ReLU(), fdl.nn.Tanh()])
        >>> [type(layer).__name__ for layer in layers[::-1]]
        ['Tanh', 'ReLU']

    Torch: ``torch.nn.ModuleList``; nothing can be inserted or deleted: build another from slices.
    """

    def __init__(self, modules: Iterable[nnx.Module] | None = None):
        super().__init__()
        self.extend(modules or ())

    @overload
    def __getitem__(self, index: int) -> nnx.Module: ...
    @overload
    def __getitem__(self, index: slice) -> "ModuleList": ...
    def __getitem__(self, index):
        found = [getattr(self, name) for name in self._names][index]
        return ModuleList(found) if isinstance(index, slice) else found

    def __add__(self, other: Iterable[nnx.Module]) -> "ModuleList":
        return ModuleList([*self, *other])


class ModuleDict(_Container):
    """A dict of modules, in the order of insertion; its keys are their names.

    Args:
        modules: a mapping from names to modules, or pairs of both; None for none.

    Raises:
        TypeError: if a key is no string or a value no module.
        ValueError: if a name is empty, has a dot, or is that of an attribute, as ``"keys"`` is.

    Example:
        >>> import fdl
        >>> heads = fdl.nn.ModuleDict({"relu": fdl.nn.ReLU(), "tanh": fdl.nn.Tanh()})
        >>> [*heads.keys()], "relu" in heads
        (['relu', 'tanh'], True)

    Torch: ``torch.nn.ModuleDict``; nothing can be deleted.
    """

    def __init__(
        self, modules: Mapping[str, nnx.Module] | Iterable[tuple[str, nnx.Module]] | None = None
    ):
        super().__init__()
        self.update(modules or {})

    def __getitem__(self, key: str) -> nnx.Module:
        return self._modules()[key]

    def __setitem__(self, key: str, module: nnx.Module) -> None:
        if key in self._names:
            setattr(self, key, module)
        else:
            self._add(key, module)

    def __contains__(self, key: object) -> bool:
        return key in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._modules().keys()

    def values(self) -> ValuesView[nnx.Module]:
        """The modules."""
        return self._modules().values()

    def items(self) -> ItemsView[str, nnx.Module]:
        """Pairs of name and module."""
        return self._modules().items()

    def update(
        self,
        modules: "Mapping[str, nnx.Module] | Iterable[tuple[str, nnx.Module]] | ModuleDict",
    ) -> None:
        """Adds modules, and replaces those of known names."""
        pairs = modules.items() if isinstance(modules, Mapping | ModuleDict) else modules
        for name, module in pairs:
            self[name] = module
