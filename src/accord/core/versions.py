"""Versions and machine kind: what a reader needs to repeat a run's figures."""

import os
import platform
from importlib.metadata import version

_PACKAGES = ("accord", "torch", "numpy", "dp-accounting", "scikit-learn")


def versions() -> dict[str, str]:
    """The versions of Accord and of what its arithmetic rests on, Python's, and the machine.

    Returns:
        Package name to version, and `python` and `machine`.

    >>> sorted(versions())
    ['accord', 'dp-accounting', 'machine', 'numpy', 'python', 'scikit-learn', 'torch']
    """
    return {name: version(name) for name in _PACKAGES} | {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
