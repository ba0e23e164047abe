"""Morphemes and sentences of Korean text, by the morphological analyser Kiwi (https://github.com/bab2min/Kiwi).

This module owns the one Kiwi object of the process. Loading it takes seconds, so it is made when first needed.
What Kiwi finds in a text depends neither on the other texts of the list nor on the number of threads.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tasks.text import comparable, holds_a_word, nfc

if TYPE_CHECKING:
    from kiwipiepy import Kiwi

#: Kiwi's tags for full stops, commas, quotes, brackets, dots, dashes and other symbols. Emoji have a tag of their own.
PUNCTUATION_TAGS = frozenset({"SF", "SP", "SS", "SSO", "SSC", "SE", "SO", "SW"})

#: Characters of a document that are searched for its first sentence before the whole document is.
HEAD = 500


# No limit: dropping the object that a fork inherited would wait for its threads, which are not there.
@functools.cache
def _load(process_id: int) -> Kiwi:
    from kiwipiepy import Kiwi  # imported here because metrics that need no morphemes should not wait for it

    # Never 0: Kiwi then works in one thread and refuses a list of texts.
    return Kiwi(num_workers=min(8, os.cpu_count() or 1))


def _kiwi() -> Kiwi:
    # A fork inherits the object but not its threads, and would wait for them for ever: each process has its own.
    return _load(os.getpid())


def tokenizer_name() -> str:
    """What counted as a token, for reports: scores by another version of Kiwi need not be comparable."""
    import kiwipiepy

    return f"kiwipiepy {kiwipiepy.__version__} morphemes"


def morphemes(texts: Sequence[str]) -> list[list[str]]:
    """The morphemes of each text, lower-cased, in order: 학교에 간다 -> 학교, 에, 가, ᆫ다.

    Punctuation and symbols are left out, unless they hold a letter or a digit: ㅋㅋㅋ is a symbol to Kiwi. A text that has
    nothing else, such as ?!, is read as white-space words: only a blank text has no tokens.
    """
    texts = [comparable(text) for text in texts]
    rows = []
    for text, tokens in zip(texts, _kiwi().tokenize(texts), strict=True):
        kept = [t.form for t in tokens if t.tag not in PUNCTUATION_TAGS or holds_a_word(t.form)]
        rows.append([form.lower() for form in kept or text.split()])
    return rows


def lead_sentence(document: str) -> str:
    """The first sentence of ``document``, NFC-normalised, without white space around it.

    A title is a sentence of its own where Kiwi takes it for one, as before an empty line. The lead is the usual
    baseline for summaries of news, and a hard one to beat (Nallapati et al. 2017, https://arxiv.org/abs/1611.04230,
    among others). Empty only where the document is blank.
    """
    return lead_sentences([document])[0]


def lead_sentences(documents: Sequence[str]) -> list[str]:
    """``lead_sentence`` of each document, several at a time."""
    texts = [nfc(document).strip() for document in documents]
    # The first sentence of an article is near its beginning, and splitting all of it takes several times as long.
    leads = _first_sentences([text[:HEAD] for text in texts])
    # Where the head has no second sentence, its only one may have been cut.
    cut = [row for row, text in enumerate(texts) if len(text) > HEAD and leads[row][1] < 2]
    for row, lead in zip(cut, _first_sentences([texts[row] for row in cut]), strict=True):
        leads[row] = lead
    return [sentence or text for (sentence, _), text in zip(leads, texts, strict=True)]


def _first_sentences(texts: list[str]) -> list[tuple[str, int]]:
    """The first sentence of each text, or "", and how many sentences the text has."""
    found = []
    for sentences in _kiwi().split_into_sents(texts):
        written = [text for text in (sentence.text.strip() for sentence in sentences) if text]
        found.append((written[0] if written else "", len(written)))
    return found
