"""The tokens of a vocabulary as bytes, and a tokenizer's normalizer."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

from tasks.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPACES = re.compile(r"\s+")


def normalizer_of(tokenizer: PreTrainedTokenizerFast) -> Callable[[str], str] | None:
    """The tokenizer's normalizer as a function; None where it has none.

    Llama 2's normalizer also writes spaces as ``▁``; that step is skipped.
    """
    from tokenizers import Tokenizer

    parts = [
        part
        for part in _parts(tokenizer.backend_tokenizer.normalizer, "normalizers")
        if part["type"] != "Prepend" and not (part["type"] == "Replace" and part["pattern"] == {"String": " "})
    ]
    if not parts:
        return None
    model = {"type": "BPE", "vocab": {}, "merges": []}
    state = {"version": "1.0", "added_tokens": [], "normalizer": {"type": "Sequence", "normalizers": parts}, "model": model}
    normalizer = Tokenizer.from_str(json.dumps(state)).normalizer
    return functools.lru_cache(1 << 16)(normalizer.normalize_str)


def _parts(component: Any, name: str) -> list[dict[str, Any]]:
    """The settings of a tokenizer's component as in tokenizer.json, with its Sequences flattened."""

    def flat(state: dict[str, Any]) -> list[dict[str, Any]]:
        return [part for inner in state[name] for part in flat(inner)] if state["type"] == "Sequence" else [state]

    return flat(json.loads(component.__getstate__())) if component else []


def pieces_of(tokenizer: PreTrainedTokenizerFast, normalize: Callable[[str], str] | None) -> dict[int, bytes]:
    """{token id: its bytes} without special tokens and separators, runs of white space as one space."""
    spell = _speller(tokenizer)
    added = tokenizer.added_tokens_decoder
    special = {*tokenizer.all_special_ids, *(index for index, token in added.items() if token.special)}
    pieces = {}
    for token, index in tokenizer.get_vocab().items():
        if index in special:
            continue
        # An added token is found in the text before that is normalised (KoGPT2's ㅠㅠ, whose letters NFKC changes).
        piece = normalize(token).encode() if normalize and index in added else spell(token)
        # Bytes that are no whole character survive as surrogates.
        piece = SPACES.sub(" ", piece.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        if piece:
            pieces[index] = piece
    return pieces


def _speller(tokenizer: PreTrainedTokenizerFast) -> Callable[[str], bytes]:
    """A function from a token of the vocabulary to its bytes, by the tokenizer's decoder."""
    decoder = {part["type"]: part for part in _parts(tokenizer.backend_tokenizer.decoder, "decoders")}
    if "ByteLevel" in decoder:
        table = {character: byte for byte, character in bytes_to_unicode().items()}
        # An added token stands for itself.
        return lambda token: bytes(map(table.get, token)) if table.keys() >= set(token) else token.encode()
    mark = decoder.get("Metaspace", {}).get("replacement") or decoder.get("Replace", {}).get("pattern", {}).get("String")
    if mark is None:
        raise UserError("--extractive: it is not known which characters this tokenizer's tokens stand for; leave it out")

    def metaspace(token: str) -> bytes:
        if "ByteFallback" in decoder and re.fullmatch(r"<0x[0-9A-F]{2}>", token):
            return bytes([int(token[3:5], 16)])
        return token.replace(mark, " ").encode()

    return metaspace
