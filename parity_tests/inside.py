"""Files inside installed packages that are not imported: real weights, vocabularies, pictures."""

from importlib.util import find_spec
from pathlib import Path


def inside(package: str, file: str) -> Path:
    """The path of a file in a package."""
    spec = find_spec(package)
    assert spec is not None, f"{package} is not installed: make test installs it"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / file
