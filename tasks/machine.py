"""The machine of a run and the versions of its packages, for cards and benchmarks. No host, user or folder names."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

#: Packages that results depend on.
PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "accelerate", "evaluate", "rouge-score", "kiwipiepy", "peft")


def versions(*others: str) -> dict[str, str]:
    """Python, the packages that results depend on, and ``others``, those that are installed."""
    found = {"python": platform.python_version()}
    for package in (*PACKAGES, *others):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware(device: Any, processes: int) -> dict[str, Any]:
    """The kind of machine: accelerator, processor, cores, memory of an accelerator in GiB, processes. Never its name."""
    import torch

    found: dict[str, Any] = {"processes": processes, "system": platform.system()}
    if device.type == "cuda":
        found["accelerator"] = torch.cuda.get_device_name(device)
        found["accelerator_memory_gib"] = round(torch.cuda.get_device_properties(device).total_memory / 2**30)
    elif device.type != "cpu":
        found["accelerator"] = device.type
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text("utf-8"), re.MULTILINE) if cpuinfo.is_file() else None
    found["processor"] = model[1].strip() if model else platform.processor() or platform.machine()
    found["cores"] = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {name: value for name, value in found.items() if value}
