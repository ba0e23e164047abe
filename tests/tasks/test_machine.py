"""What is said of the machine and the packages of a run."""

from __future__ import annotations

from importlib import metadata
from types import SimpleNamespace

import torch

from tasks import machine
from tasks.publishing.secrets import find_private


def test_versions(monkeypatch):
    versions = machine.versions()
    assert versions["torch"] == torch.__version__
    assert versions["transformers"] == metadata.version("transformers")
    assert next(iter(versions)) == "python"
    assert set(versions) <= {"python", *machine.PACKAGES}
    monkeypatch.setattr(machine, "PACKAGES", ("torch", "no-such-package"))
    assert list(machine.versions()) == ["python", "torch"]
    assert list(machine.versions("numpy", "another")) == ["python", "torch", "numpy"]


def test_a_processor():
    found = machine.hardware(torch.device("cpu"), 1)
    assert set(found) <= {"processes", "system", "processor", "cores"}
    assert found["processes"] == 1
    assert found["cores"] >= 1
    assert not any("gpu-box" in str(value) for value in found.values())
    assert find_private(str(found)) == []


def test_an_accelerator(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=85 * 10**9))
    found = machine.hardware(torch.device("cuda", 0), 2)
    assert (found["accelerator"], found["accelerator_memory_gib"], found["processes"]) == ("NVIDIA H100", 79, 2)
    assert machine.hardware(torch.device("mps"), 1)["accelerator"] == "mps"


def test_half_precision_that_is_emulated_is_found_out(monkeypatch):
    clock = iter([0.0, 3.0] * 4 + [0.0, 0.5] * 4 + [0.0, 0.5] * 4 + [0.0, 0.5] * 4)
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(clock))
    assert machine.slow_half("--bf16", "bfloat16", "cpu") == (
        "--bf16: this machine computes bfloat16 6.0 times slower than float32; leave it out"
    )
    assert machine.slow_half("--dtype", "float16", "cpu") is None  # as fast
    assert machine.slow_half("--dtype", "float32", "cpu") is None  # nothing to measure
