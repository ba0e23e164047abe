"""Figures, seconds, settings, machines and labels as a reader of a model card sees them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any


def verbatim(text: str) -> str:
    """``text`` as Markdown that shows it as it is: ``<summarize>`` would otherwise vanish like any unknown HTML."""
    text = re.sub(r"[\\`*_\[\]<>!|~&#$]", r"\\\g<0>", text)
    return re.sub(r"^(\s*(?:\d+(?=[.)]))?)([-+=.)])", r"\1\\\2", text)


def number(value: float) -> str:
    """A figure with the digits that matter."""
    if value and not 0.001 <= abs(value) < 1e6:
        return f"{value:.2g}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def seconds(value: float | None, language: str) -> str | None:
    """Seconds as the seconds, minutes or hours that they are; None stays None."""
    if value is None:
        return None
    words = {"en": ("less than 1 s", " s", " min", " h"), "ko": ("1초 미만", "초", "분", "시간")}
    moment, second, minute, hour = words[language]
    if value < 120:
        return moment if value < 1 else f"{value:.0f}{second}"
    return f"{value / 60:.0f}{minute}" if value < 7200 else f"{value / 3600:.1f}{hour}"


def plain(value: Any) -> str:
    """A setting for the cell of a table, lists and mappings as JSON."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)
    return text.replace("|", "\\|")


def hardware(facts: Mapping[str, Any], language: str) -> str:
    """``2 x NVIDIA A100 (80 GiB), AMD EPYC, 16 cores, Linux``."""
    cores, processes = {"en": ("{} cores", "{} processes"), "ko": ("코어 {}개", "프로세스 {}개")}[language]
    accelerator, count = facts.get("accelerator"), facts.get("processes", 1)
    memory = f" ({facts['accelerator_memory_gib']} GiB)" if "accelerator_memory_gib" in facts else ""
    parts = (
        accelerator and f"{count} x {accelerator}{memory}",
        facts.get("processor"),
        cores.format(facts["cores"]) if "cores" in facts else None,
        processes.format(count) if count > 1 and not accelerator else None,
        facts.get("system"),
    )
    return ", ".join(part for part in parts if part)
