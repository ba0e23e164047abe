"""From scratch: a tokenizer and a GPT-2 trained on a corpus, measured as ``generate`` is."""

from __future__ import annotations

from tasks.generate import Generate
from tasks.nli import NLI
from tasks.qa import QA
from tasks.summarize import Summarize


class Scratch(Generate):
    """Plain text again, and a tokenizer that already holds the separators of every task that will be built on it."""

    name = "scratch"
    separators = Summarize.separators + NLI.separators + QA.separators
    # The bundled corpus is every text of the other four samples, so that the model made from it knows their words.
    sample_texts = {
        "generate": ("text",),
        "summarize": ("document", "summary"),
        "nli": ("premise", "hypothesis"),
        "qa": ("context", "question"),
    }
