"""Extractive answers: which tokens may follow so that the answer stays a span of its context.

Characters are constrained, not the context's tokens: a Korean answer ends inside a white-space word (서울은 -> 서울),
where the context may have no token boundary.
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from tasks.errors import UserError

#: Contexts cached: several questions share one, and so do all windows of a question.
CONTEXTS = 128

SPACE = ord(" ")
SPACES = re.compile(r"\s+")

#: Given (row, its completion so far), the tokens that may follow: the ``allowed`` of ``decode``.
Allowed = Callable[[int, list[int]], Sequence[int]]


class Extractor:
    """The vocabulary of a tokenizer as a trie of bytes, walked along the context to find the tokens that may follow.

    A run of white space counts as one space, and the context is normalised by the tokenizer; an answer is a slice of the
    original context.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        """Raises UserError where the bytes of the tokenizer's tokens are unknown."""
        self.normalize = normalizer_of(tokenizer)
        self.pieces = pieces_of(tokenizer, self.normalize)
        self.eos = tokenizer.eos_token_id
        child: dict[int, int] = {}  # node * 256 + byte -> node; the root is 0
        self.tokens: dict[int, list[int]] = {}  # node -> the tokens that end there
        for token, piece in self.pieces.items():
            node = 0
            for byte in piece:
                node = child.setdefault(node << 8 | byte, len(child) + 1)
            self.tokens.setdefault(node, []).append(token)
        self.space = child.get(SPACE, -1)  # -1: no token begins with a space
        self.blanks = frozenset(self.tokens.get(self.space, ()))  # the tokens that are white space alone
        # With a token for every byte of UTF-8, each character that was begun can be completed.
        self.spells_all = {bytes([byte]) for byte in range(0x80, 0xF5)} <= set(self.pieces.values())
        # The trie as sorted keys, for lookups of many places at once; the last key equals none.
        self._keys = np.array([*sorted(child), np.iinfo(np.int64).max])
        self._child = np.array([child[key] for key in self._keys[:-1].tolist()])
        self._ends = np.zeros(len(child) + 1, bool)
        self._ends[list(self.tokens)] = True
        self.context = functools.lru_cache(CONTEXTS)(lambda text: Context(text, self))

    def walk(self, text: np.ndarray, places: np.ndarray, node: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(ends, trie nodes) of the tokens that begin at ``places`` of ``text``, which is its bytes and a final -1."""
        nodes = np.full(len(places), node)
        while len(places):
            keys = nodes << 8 | text[places]
            at = np.searchsorted(self._keys, keys)
            found = self._keys[at] == keys
            nodes, places = self._child[at[found]], places[found] + 1
            ends = self._ends[nodes]
            if ends.any():
                yield places[ends], nodes[ends]

    def allowed(self, texts: Sequence[str]) -> Allowed:
        """The constraint of a batch whose rows are answered from ``texts``; a row's completion may only grow."""
        spans = [Span(self.context(text)) for text in texts]

        def following(row: int, ids: list[int]) -> Sequence[int]:
            for token in ids[spans[row].length :]:
                spans[row].add(token)
            return spans[row].following()

        return following

    def answer(self, text: str, ids: Sequence[int]) -> str:
        """The first span of ``text`` that matches a completion."""
        span = Span(self.context(text))
        for token in ids:
            span.add(token)
        return span.answer()


class Context:
    """A context as bytes to match, mapped back to its original characters.

    Characters stay whole: where one is normalised to several (㎞ to km) or several to one (decomposed Hangul), an answer
    neither begins nor ends inside.
    """

    def __init__(self, text: str, extractor: Extractor) -> None:
        """``extractor`` holds the vocabulary."""
        self.extractor = extractor
        self.text, characters = _characters(text, extractor.normalize)
        read = bytearray()
        self.begins: dict[int, int] = {}  # where an answer may begin: in bytes -> in characters of the text
        self.ends: dict[int, int] = {}  # where one may end
        self.spaces: Counter[int] = Counter()  # where one space ends that stands for several: in bytes -> how many more
        place = 0
        for original, normal in characters:
            shown = normal if normal.isalnum() else SPACES.sub(" ", normal)
            if shown[:1] == " " and read[-1:] in (b"", b" "):
                self.spaces[len(read)] += 1
                shown = shown[1:]
            if shown:
                if shown != " ":
                    self.begins[len(read)] = place
                read += shown.encode()
                self.ends[len(read)] = place + len(original)
            place += len(original)
        self.read = bytes(read)
        self._bytes = np.array([*self.read, -1])
        self._complete = np.zeros(len(self._bytes), bool)
        self._complete[list(self.ends)] = True

    @functools.cached_property
    def first(self) -> np.ndarray:
        """The tokens that an answer may begin with, anywhere in the context; most of the work, and cached."""
        found = self.following([(start, start) for start in self.begins])
        found.update(self.extractor.blanks if found else [self.extractor.eos])
        return np.array(list(found))

    def following(self, spans: Sequence[tuple[int, int]], blanks: int = 0) -> set[int]:
        """The tokens that extend one of the spans (start, end), whose last ``blanks`` tokens were white space alone.

        The space of a token such as ``▁서울`` needs none in the context at the beginning of an answer and after a space.
        """
        everywhere = np.array([end for _, end in spans], np.int64)
        free = np.array([end for start, end in spans if self._space_is_free(start, end)], np.int64)
        nodes: set[int] = set()
        for places, node in ((everywhere, 0), (free, self.extractor.space)):
            for stops, found in self.extractor.walk(self._bytes, places, node):
                nodes.update(found[self._finishable(stops)].tolist())
        tokens = {token for node in nodes for token in self.extractor.tokens[node]}
        if any(self.spaces[end] >= max(1, blanks) for start, end in spans if start < end):
            tokens.update(self.extractor.blanks)
        return tokens

    def lengthened(self, spans: Iterable[tuple[int, int]], piece: bytes) -> list[tuple[int, int]]:
        """The spans (start, end) that ``piece`` extends, extended by it."""
        found = []
        for start, end in spans:
            if self.read.startswith(piece, end):
                found.append((start, end + len(piece)))
            if piece[0] == SPACE and self._space_is_free(start, end) and self.read.startswith(piece[1:], end):
                found.append((start, end + len(piece) - 1))
        return found

    def _space_is_free(self, start: int, end: int) -> bool:
        return start == end or self.read[end - 1] == SPACE

    def _finishable(self, stops: np.ndarray) -> np.ndarray:
        """Whether tokens exist that complete the character that each stop is inside of."""
        good = self._complete[stops]
        if self.extractor.spells_all:
            return np.ones_like(good)
        for i in np.flatnonzero(~good):
            walk = self.extractor.walk(self._bytes, stops[i : i + 1])
            good[i] = any(self._finishable(later).any() for later, _ in walk)
        return good


class Span:
    """The spans of the context (start, end), in bytes, that match a completion so far."""

    def __init__(self, context: Context) -> None:
        """An empty completion."""
        self.context = context
        self.length = 0  # in tokens
        self.blanks = 0  # trailing tokens of white space alone
        self.places: list[tuple[int, int]] = []

    def add(self, token: int) -> None:
        """Append a token that may follow."""
        places = self.places if self.length else [(start, start) for start in self.context.begins]
        self.places = self.context.lengthened(places, self.context.extractor.pieces[token])
        self.blanks = self.blanks + 1 if token in self.context.extractor.blanks else 0
        self.length += 1

    def following(self) -> Sequence[int]:
        """The tokens that may follow: eos where the text is not empty and complete, or where nothing else may."""
        if not self.length:
            return self.context.first
        found = self.context.following(self.places, self.blanks)
        if not found or any(self._is_complete(*place) for place in self.places):
            found.add(self.context.extractor.eos)
        return list(found)

    def _is_complete(self, start: int, end: int) -> bool:
        return end > start and end in self.context.ends

    def answer(self) -> str:
        """The text of the first span, without an incomplete last character."""
        context = self.context
        start, end = next((place for place in self.places if self._is_complete(*place)), (self.places or [(0, 0)])[0])
        while end > start and end not in context.ends:
            end -= 1
        return context.text[context.begins[start] : context.ends[end]].strip() if end > start else ""


def _characters(text: str, normalize: Callable[[str], str] | None) -> tuple[str, list[tuple[str, str]]]:
    """The text and the (original, normalised) pairs of the pieces, mostly characters, that are normalised independently.

    Where such pieces do not add up to the normalised whole, that is returned as the text: the original cannot be mapped.
    """
    whole = normalize(text) if normalize else text
    if whole == text:
        return text, [(character, character) for character in text]
    pieces: list[tuple[str, str]] = []
    for character in text:
        alone = normalize(character)
        if pieces:
            last, normal = pieces[-1]
            together = normalize(last + character)
            if together != normal + alone:
                pieces[-1] = (last + character, together)
                continue
        pieces.append((character, alone))
    if "".join(normal for _, normal in pieces) != whole:
        return whole, [(character, character) for character in whole]
    return text, pieces


def normalizer_of(tokenizer: PreTrainedTokenizerFast) -> Callable[[str], str] | None:
    """The tokenizer's normalizer as a function, without Llama 2's step that writes spaces as ``▁``; None if it has none."""
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
