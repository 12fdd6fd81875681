"""Versions and kind of machine, which a reader needs to reproduce a run's results."""

import os
import platform
from importlib.metadata import version

import torch

_PACKAGES = ("accord", "torch", "numpy", "dp-accounting", "scikit-learn")


def versions() -> dict[str, str]:
    """The versions of Accord, of the libraries behind its arithmetic and of Python, and the machine.

    Returns:
        Package name to version, with `python` and `machine`.

    >>> sorted(versions())
    ['accord', 'dp-accounting', 'machine', 'numpy', 'python', 'scikit-learn', 'torch']
    """
    return {name: version(name) for name in _PACKAGES} | {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def arithmetic(device: torch.device) -> dict[str, str]:
    """The properties besides versions that decide the last bits of a sum, of the processor and the libraries.

    On another processor matrix products use other instructions, and so another order of addition.

    Args:
        device: where the run computes.
    """
    from llvmlite import binding  # loads LLVM, which only private runs need

    on_cuda = device.type == "cuda"
    return {
        "machine": platform.machine(),
        "processor": binding.get_host_cpu_name(),
        "vector": torch.backends.cpu.get_cpu_capability(),
        "products": torch.get_float32_matmul_precision(),
        "kernels": ", ".join(f"{name} {version(name)}" for name in ("numba", "scipy")),
        "device": torch.cuda.get_device_name(device) if on_cuda else device.type,
        "cuda": f"{torch.version.cuda}, cuDNN {_cudnn()}" if on_cuda else "none",
    }


def _cudnn() -> str:
    return str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
