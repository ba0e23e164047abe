"""Flags of decoding, and the decoding settings that follow from them, the trained model and the task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers.hf_argparser import HfArg

from tasks.arguments.checks import at_least
from tasks.base import Task
from tasks.errors import UserError

#: One beam: on short summaries and answers, N beams take N times as long and change little. top_k and top_p are the usual
#: values for sampling. A few dozen samples are enough to look at.
DECODING_DEFAULTS = {
    "num_beams": 1,
    "top_k": 50,
    "top_p": 0.95,
    "temperature": 1.0,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "num_samples": 64,
    "extractive": False,
    "system": "",
}


@dataclass
class GenerationArguments:
    """Decoding. A flag that is not given has the value that the model was evaluated with, else the task's default."""

    max_new_tokens: int | None = HfArg(default=None, help="Longest completion in tokens, eos included.")
    num_beams: int | None = HfArg(default=None, help="Beam search over N beams; 1, the default, is greedy.")
    do_sample: bool | None = HfArg(
        default=None, help="Sample instead of taking the best token.", metadata={"nargs": "?", "const": True}
    )
    top_k: int | None = HfArg(default=None, help="Sample from the K best tokens (50); 0 is off.")
    top_p: float | None = HfArg(default=None, help="Sample from the best tokens that hold this probability (0.95).")
    temperature: float | None = HfArg(default=None, help="Below 1 sharper, above 1 wilder, when sampling.")
    repetition_penalty: float | None = HfArg(
        default=None, help="Above 1: avoid tokens written before; the prompt does not count."
    )
    no_repeat_ngram_size: int | None = HfArg(
        default=None, help="Never write N tokens in a row twice; 0 is off; the prompt does not count."
    )
    extractive: bool | None = HfArg(
        default=None,
        help="qa: answers that stand in the context; measured beside free ones as free_f1, free_exact_match.",
        metadata={"nargs": "?", "const": True},
    )
    system: str | None = HfArg(
        default=None, help="chat: what the model is told first, where the messages do not say; kept in its chat template."
    )
    num_samples: int | None = HfArg(default=None, help="generate, scratch: validation rows continued by a sample (64).")

    def __post_init__(self) -> None:
        at_least(self, 1, "max_new_tokens", "num_beams")
        at_least(self, 0, "top_k", "no_repeat_ngram_size", "num_samples")
        for name, high in {"top_p": 1.0, "temperature": float("inf"), "repetition_penalty": float("inf")}.items():
            value = getattr(self, name)
            if value is not None and not 0 < value <= high:
                raise UserError(f"--{name} is {value}; it must be over 0" + (" and at most 1" if high == 1.0 else ""))


def generation_settings(
    task: Task, arguments: GenerationArguments, measured_with: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The decoding settings: those given, else those that the model was evaluated with, else the task's defaults.

    Raises:
        UserError: task.json holds an invalid value; ``--extractive`` does not suit the task or another setting.
    """
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    defaults = DECODING_DEFAULTS | {"max_new_tokens": task.max_new_tokens, "do_sample": task.do_sample}
    measured = {name: value for name, value in (measured_with or {}).items() if name in defaults}
    for name, value in measured.items():
        kinds = (float, int) if isinstance(defaults[name], float) else (type(defaults[name]),)
        if type(value) not in kinds:
            raise UserError(f"task.json: the decoding setting {name} is {value!r:.40}; train again, or mend the file")
    type(arguments)(**measured)  # checks that they are in range
    settings = defaults | measured | given
    if settings["system"] and not task.conversational:
        raise UserError(f"--system: {task.name} holds no conversation; leave it out")
    if settings["extractive"] and not task.extractive:
        raise UserError(f"--extractive: {task.name} does not take its answers from a text; leave it out")
    if settings["extractive"] and (settings["num_beams"] > 1 or settings["do_sample"] or settings["no_repeat_ngram_size"]):
        raise UserError(
            "--extractive takes the best token of those that go on in the context, which --num_beams, --do_sample and "
            "--no_repeat_ngram_size do not go with; leave these out (--num_beams 1), or give --extractive false"
        )
    return settings
