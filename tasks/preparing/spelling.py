"""Tokens that text must not become, and what stands for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def unknown_id(tokenizer: PreTrainedTokenizerFast) -> int | None:
    """The token of characters that the vocabulary lacks; None as in GPT-2, whose bytes leave nothing unknown."""
    shared = tokenizer.unk_token in (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token)
    return None if shared else tokenizer.unk_token_id


def spellings(tokenizer: PreTrainedTokenizerFast) -> dict[int, list[int]]:
    """The ids that text must not become: those of special tokens -> the ids of the characters they are written with.

    ``encode_special_tokens`` keeps the list of added tokens away from a text, but the model may still build one of them: a
    Unigram model has ``</s>`` among its pieces, and BPE merges learnt from a corpus with ``</s>`` in it lead there. The
    unknown token is left out: it is what a character becomes that the vocabulary lacks.
    """
    vocabulary, unknown = tokenizer.get_vocab(), unknown_id(tokenizer)
    listed = tokenizer.backend_tokenizer.get_added_tokens_decoder()
    special = {index for index, token in listed.items() if token.special} - {unknown}
    characters = {i: [vocabulary.get(character, unknown) for character in listed[i].content] for i in special}
    return {i: [piece for piece in ids if piece not in special | {None}] for i, ids in characters.items()}


def spell_out(
    ids: Sequence[int], spelled: Mapping[int, list[int]], offsets: Sequence[tuple[int, int]] | None
) -> tuple[list[int], list[tuple[int, int]]]:
    """``ids`` with the keys of ``spelled`` replaced by their values, and the offsets: a piece has those of its whole."""
    places = [(i, piece) for i, index in enumerate(ids) for piece in spelled.get(index, (index,))]
    return [piece for _, piece in places], [offsets[i] for i, _ in places] if offsets else []
