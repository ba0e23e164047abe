"""What the tokens of a vocabulary stand for, in bytes, and what a tokenizer does to characters before it makes tokens."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tasks.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

#: White space, which is one space however much there is.
SPACES = re.compile(r"\s+")


def normalizer_of(tokenizer: PreTrainedTokenizerFast) -> Callable[[str], str] | None:
    """What the tokenizer does to characters before it cuts a text into tokens; None for nothing.

    Llama 2 has its ``▁`` for spaces made here too, which is no matter of characters and left out.
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
    """The settings of a tokenizer's component as tokenizer.json has them, a Sequence taken apart."""
    if component is None:
        return []
    state = json.loads(component.__getstate__())
    pending, found = [state], []
    while pending:
        state = pending.pop(0)
        if state["type"] == "Sequence":
            pending = [*state[name], *pending]
        else:
            found.append(state)
    return found


def pieces_of(tokenizer: PreTrainedTokenizerFast, normalize: Callable[[str], str] | None) -> dict[int, bytes]:
    """{token: the bytes it stands for}, white space as one space, without special tokens and separators."""
    spell = _speller(tokenizer)
    added = tokenizer.added_tokens_decoder
    special = {*tokenizer.all_special_ids, *(index for index, token in added.items() if token.special)}
    pieces = {}
    for token, index in tokenizer.get_vocab().items():
        if index in special:
            continue
        # Found in a text before it is normalised (KoGPT2's ㅠㅠ, whose letters NFKC changes).
        piece = normalize(token).encode() if normalize and index in added else spell(token)
        # Bytes that are no whole character survive as surrogates.
        piece = SPACES.sub(" ", piece.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        if piece:
            pieces[index] = piece
    return pieces


def _speller(tokenizer: PreTrainedTokenizerFast) -> Callable[[str], bytes]:
    """The bytes that a token of the vocabulary stands for, by the tokenizer's decoder."""
    decoder = {part["type"]: part for part in _parts(tokenizer.backend_tokenizer.decoder, "decoders")}
    if "ByteLevel" in decoder:
        table = _byte_level_table()

        def byte_level(token: str) -> bytes:
            try:
                return bytes(map(table.__getitem__, token))
            except KeyError:  # an added token, which stands for itself
                return token.encode()

        return byte_level
    mark = decoder.get("Metaspace", {}).get("replacement") or decoder.get("Replace", {}).get("pattern", {}).get("String")
    if mark is None:
        raise UserError("--extractive: it is not known which characters this tokenizer's tokens stand for; leave it out")

    def metaspace(token: str) -> bytes:
        if "ByteFallback" in decoder and re.fullmatch(r"<0x[0-9A-F]{2}>", token):
            return bytes([int(token[3:5], 16)])
        return token.replace(mark, " ").encode()

    return metaspace


def _byte_level_table() -> dict[str, int]:
    """GPT-2's characters for bytes: printable ones stand for themselves, the others come after U+0100 in their order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}
