"""Rows to measure on that training reads too, told by hashes: a corpus need not lie in memory a second time."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tasks.base import BOS, Example, Source
from tasks.distributed import is_first

#: The count in ``all_results.json``: rows of a split whose input training reads too. Missing where nobody has counted them.
SHARED = "shared_with_train"


def digest_of(*texts: Any) -> bytes:
    """8 bytes that are the same for the same texts, in NFC and with white space collapsed; other values by their repr.

    Two of 650,000 different texts have the same ones with a probability of 1e-8.
    """
    plain = (" ".join(unicodedata.normalize("NFC", text).split()) if isinstance(text, str) else repr(text) for text in texts)
    return hashlib.blake2b("\0".join(plain).encode(errors="surrogatepass"), digest_size=8).digest()


def keys_of(examples: Sequence[Example]) -> np.ndarray:
    """uint64 [examples], the same for the same input: the prompt, or the text itself where there is no prompt.

    The target does not count. A model that has seen a question with another answer has seen it.
    """
    inputs = (
        (example.completion,)
        if example.prompt == (BOS,)
        else [part.text if isinstance(part, Source) else part for part in example.prompt]
        for example in examples
    )
    return np.frombuffer(b"".join(digest_of(*texts) for texts in inputs), np.uint64)


def count_shared(keys: Mapping[str, np.ndarray]) -> dict[str, int]:
    """{split: rows whose key is one of train's}, for the splits beside train; nothing where train was not read."""
    return {split: int(np.isin(keys[split], keys["train"]).sum()) for split in keys if "train" in keys and split != "train"}


def print_shared(counts: Mapping[str, Mapping[str, int]]) -> None:
    """One line for a person, before training, on how many rows to measure on stand in train."""
    found = [
        f"{row[SHARED]:,} of {row['rows']:,} {split}" if SHARED in row else f"{split} not counted"
        for split, row in counts.items()
        if split != "train"
    ]
    if "train" in counts and found and is_first():
        print(f"rows to measure on that training reads too: {', '.join(found)}")
