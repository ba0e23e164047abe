"""Prepared data on disk, named by what it was made from: complete or absent, never stale, shared by processes.

The cache of ``Dataset.map`` does not serve: it returns damaged files as they are, and has no lock for processes that start
at once.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.run_folder import file_sha256

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"


def key_of(parts: Any) -> str:
    """A collision-free name for a JSON value."""
    text = json.dumps(parts, ensure_ascii=True, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def cached(key: str, build: Callable[[Path], None], *, overwrite: bool = False) -> Path | None:
    """The folder of ``key``, with the files that ``build`` writes into the folder that it is given.

    An entry is reused if every file is as it was written, and rebuilt otherwise. Of several processes one builds while the
    others wait. A folder gets its name when it is complete, so a process that is killed leaves no entry behind.

    Returns None, with a warning, where the cache cannot be written (a full disk, missing permission).
    """
    from datasets import config
    from filelock import FileLock

    root = Path(config.HF_DATASETS_CACHE) / "korean-causal-lm-tasks"
    entry = root / key
    if not overwrite and is_whole(entry):  # before the lock: a cache that is only readable still serves
        return entry
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f"{key}.lock"):
            if not overwrite and is_whole(entry):
                return entry
            for left in root.glob(f"{key}.*.tmp"):  # of processes that were killed: whoever builds holds the lock
                shutil.rmtree(left, ignore_errors=True)
            _build(entry, build)
    except OSError as error:
        logger.warning("%s cannot be used to keep prepared data (%s); going on without it", root, error.strerror or error)
        return None
    return entry


def _build(entry: Path, build: Callable[[Path], None]) -> None:
    # Once the folder has been renamed, there is nothing left for TemporaryDirectory to remove.
    with tempfile.TemporaryDirectory(".tmp", f"{entry.name}.", entry.parent, ignore_cleanup_errors=True) as name:
        temporary = Path(name)
        build(temporary)
        files = sorted(temporary.iterdir())
        manifest = {path.name: [path.stat().st_size, file_sha256(path)] for path in files}
        (temporary / MANIFEST).write_text(json.dumps(manifest), "utf-8")
        if entry.exists():
            shutil.rmtree(entry)
        os.replace(temporary, entry)


def is_whole(entry: Path) -> bool:
    """Whether every file of an entry is there as it was written."""
    try:
        manifest = json.loads((entry / MANIFEST).read_text("utf-8"))
        # Sizes first, which cost nothing.
        return all((entry / name).stat().st_size == size for name, (size, _) in manifest.items()) and all(
            file_sha256(entry / name) == digest for name, (_, digest) in manifest.items()
        )
    except (OSError, ValueError, TypeError, AttributeError):
        return False
