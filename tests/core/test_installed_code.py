"""Installed packages are told from a user's own files, and stand in the digest with their files and versions."""

import sysconfig
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from accord.core.installed_code import PINNED, Installed, is_installed


def test_what_distributions_bring() -> None:
    installed = Installed()
    assert installed.brings("yaml")
    assert not installed.brings("json")
    assert not installed.brings("no_such_module")
    assert PINNED - {"accord"} <= packages_distributions().keys()


def test_folders_of_installed_packages(tmp_path: Path) -> None:
    assert is_installed(Path(sysconfig.get_path("purelib")) / "x.py")
    assert not is_installed(Path(sysconfig.get_path("stdlib")) / "json" / "__init__.py")
    assert not is_installed(tmp_path / "x.py")


def test_a_digest_is_of_all_files_but_what_python_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "own_tree"
    (package / "__pycache__").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(package.parent))
    before = Installed().digest("own_tree")
    (package / "__pycache__" / "deep.pyc").write_text("1")
    assert Installed().digest("own_tree") == before
    (package / "weights.json").write_text("[1]")
    assert Installed().digest("own_tree") != before


def test_what_a_pinned_distribution_brings_is_in_its_version() -> None:
    assert Installed().digest("functorch") == b""
