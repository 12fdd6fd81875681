"""Installed packages that a study's own functions come from or import: what their files hold, and their versions.

A version stands for a package's files only as long as nobody edits them. A package that a user's function comes from,
or that a user's file imports, is therefore digested file by file. For what such a package requires in turn, name and
version are digested.
"""

import hashlib
import re
import sys
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

PINNED = frozenset({"accord", "dp_accounting", "llvmlite", "numba", "numpy", "scipy", "sklearn", "torch"})
"""Modules whose versions are in every run's identity already (`accord.core.versions`)."""

_PINNED_DISTRIBUTIONS = {"accord", "dp-accounting", "llvmlite", "numba", "numpy", "scikit-learn", "scipy", "torch"}
_FOLDERS = {"site-packages", "dist-packages"}
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Installed:
    """The installed distributions, looked up once and only if they are asked for, and digests of what they bring."""

    def __init__(self) -> None:
        self._digests: dict[str, bytes] = {}

    @cached_property
    def by_module(self) -> Mapping[str, list[str]]:
        """Top-level module name to the distributions that bring it."""
        return packages_distributions()

    def brings(self, top: str) -> bool:
        """Whether a top-level module lies in a folder of installed packages and belongs to a distribution."""
        folders = _locations(top)
        return bool(folders) and all(map(is_installed, folders)) and top in self.by_module

    def digest(self, top: str) -> bytes:
        """Digests all files of a top-level module, and the versions of its distributions and what these require."""
        if top not in self._digests:
            self._digests[top] = self._digest(top)
        return self._digests[top]

    def _digest(self, top: str) -> bytes:
        digest = hashlib.blake2b(digest_size=16)
        names = self.by_module.get(top, [])
        if names and _PINNED_DISTRIBUTIONS.issuperset(map(_canonical, names)):
            return b""  # such as functorch, which is torch's
        for name, version in sorted(_versions(names).items()):
            digest.update(f"{name}/{version}/".encode())
        for folder in _locations(top):
            for path in _files(folder):
                content = path.read_bytes()
                # Names and lengths, so that no two sets of files read alike.
                digest.update(f"{path.relative_to(folder.parent)}/{len(content)}/".encode())
                digest.update(content)
        return digest.digest()


def is_installed(path: Path) -> bool:
    """Whether a path lies in a folder of installed packages."""
    return bool(_FOLDERS.intersection(path.resolve().parts))


def _locations(top: str) -> list[Path]:
    """A top-level module's folders, or its one file; none where it is not found."""
    loaded = sys.modules.get(top)
    spec: ModuleSpec | None = getattr(loaded, "__spec__", None) or PathFinder.find_spec(
        top, [*sys.path, str(Path.cwd())]
    )
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [Path(folder) for folder in spec.submodule_search_locations]
    return [Path(spec.origin)] if spec.has_location and spec.origin is not None else []


def _files(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    # What Python and numba compile is written while a package runs, and follows from its source.
    return sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts and path.is_file())


def _versions(names: Iterable[str]) -> dict[str, str]:
    """Name to version of distributions and of all that they require, as far as it is installed."""
    found: dict[str, str] = {}
    waiting = list(names)
    while waiting:
        name = _canonical(waiting.pop())
        if name in found or name in _PINNED_DISTRIBUTIONS:
            continue
        try:
            metadata = distribution(name)
        except PackageNotFoundError:
            continue  # an extra, or for another platform
        found[name] = metadata.version
        waiting += [match[0] for line in metadata.requires or [] if (match := _REQUIREMENT.match(line))]
    return found


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
