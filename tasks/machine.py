"""The machine of a run and the versions of its packages, for cards and benchmarks. No host, user or folder names."""

from __future__ import annotations

import os
import platform
import re
import time
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


def slow_half(flag: str, kind: str, device: Any) -> str | None:
    """The message that ``device`` multiplies matrices of ``kind`` slower than of float32; None where it does not.

    Processors without instructions for bfloat16 or float16 emulate them, up to a hundred times slower. What counts is not
    what a processor claims but the time of a product (the fastest of four, some milliseconds).
    """
    if kind == "float32":
        return None
    import torch

    size = 256 if torch.device(device).type == "cpu" else 2048

    def seconds(dtype: torch.dtype) -> float:
        matrix, times = torch.ones(size, size, dtype=dtype, device=device), []
        for _ in range(4):
            started = time.perf_counter()
            (matrix @ matrix)[0, 0].item()  # waits for the device
            times.append(time.perf_counter() - started)
        return min(times)

    factor = seconds(getattr(torch, kind)) / seconds(torch.float32)
    if factor < 1.3:  # a busy machine measures a few percent more or less
        return None
    return f"{flag}: this machine computes {kind} {factor:.1f} times slower than float32; leave it out"
