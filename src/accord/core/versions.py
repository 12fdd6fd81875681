"""Versions and machine kind: what a reader needs to repeat a run's figures."""

import os
import platform
from importlib.metadata import version

import torch

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


def arithmetic(device: torch.device) -> dict[str, str]:
    """What besides versions decides the last bits of a sum: the processor's kind, and how libraries use it.

    Matrix products take other instructions, and so other orders of addition, on another processor.

    Args:
        device: where the run computes.
    """
    from llvmlite import binding  # brings LLVM: for private runs alone

    return {
        "machine": platform.machine(),
        "processor": binding.get_host_cpu_name(),
        "vector": torch.backends.cpu.get_cpu_capability(),
        "products": torch.get_float32_matmul_precision(),
        "kernels": ", ".join(f"{name} {version(name)}" for name in ("numba", "scipy")),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }
