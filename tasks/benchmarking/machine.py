"""What a process asks of the machine: how much memory it took, how much it may take, what it ran on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any


def peak_memory_mb() -> float:
    """The most memory that this process held at a time, in MB.

    Linux counts it for each program in VmHWM. ``ru_maxrss`` of a child begins with what the program held that started it,
    so it is asked only where there is no such file.
    """
    try:
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        import resource

        scale = 1024 * 1024 if platform.system() == "Darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def free_memory_gb() -> float | None:
    """What new programs can take without swapping; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 1024**2
    except (OSError, StopIteration):
        return None


def limit_memory(gigabytes: float | None) -> None:
    """Let an allocation beyond ``gigabytes`` fail in this process, before the kernel ends some other one to make room."""
    if gigabytes is None or platform.system() != "Linux":
        return
    import resource

    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = int(gigabytes * 1024**3)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def describe() -> dict[str, Any]:
    """Processor, cores and versions, for whoever reads the figures."""
    import torch

    versions = {}
    for package in ("torch", "transformers", "accelerate", "tokenizers", "trl"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found: dict[str, Any] = {"processor": _processor(), "cores": cores, "torch_threads": torch.get_num_threads()}
    if torch.accelerator.is_available():
        found["accelerator"] = torch.cuda.get_device_name() if torch.cuda.is_available() else str(device())
    return found | {"python": platform.python_version(), "versions": versions}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def device() -> Any:
    """Where models run: the accelerator where there is one, as in the Trainer."""
    import torch

    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")


def synchronize() -> None:
    """Wait until the accelerator has done what it was given, so that the clock sees it."""
    import torch

    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def memory_figures() -> dict[str, float]:
    """The peaks of this process, of the machine's memory and of the accelerator's."""
    import torch

    figures = {"peak_memory_mb": peak_memory_mb()}
    if torch.cuda.is_available():
        figures["peak_device_memory_mb"] = torch.cuda.max_memory_allocated() / 1024**2
    return figures
