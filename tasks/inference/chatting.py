"""A conversation at the terminal: it remembers what was said, and an answer is shown while it is written."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from tasks.base import Example
from tasks.errors import UserError
from tasks.inference.predicting import Predictor
from tasks.run_folder import write_jsonl

HELP = "/reset begins anew, /system TEXT says how to answer, /save FILE keeps the conversation; an empty line ends"


def converse(predictor: Predictor) -> None:
    """Ask, answer and remember until an empty line or Ctrl-D; mistakes are told in a line and cost nothing."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives input() arrow keys and history; Windows has none

    print(HELP)
    messages: list[dict[str, str]] = []
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            return
        if not line:
            return
        command, _, rest = line.partition(" ")
        try:
            if command == "/reset":
                messages = [message for message in messages if message["role"] == "system"]
            elif command == "/system" and rest.strip():
                said = [message for message in messages if message["role"] != "system"]
                messages = [{"role": "system", "content": rest.strip()}, *said]
            elif command == "/save" and rest.strip():
                write_jsonl(rest.strip(), [{"messages": messages}])
            elif line.startswith("/"):
                raise UserError(f"{line}: not known; {HELP}")
            else:
                asked = [*messages, {"role": "user", "content": line}]
                messages = [*asked, {"role": "assistant", "content": answer(predictor, asked)}]
        except UserError as error:  # what was said stays as it was
            print(f"error: {error}", file=sys.stderr)


def answer(predictor: Predictor, messages: list[dict[str, str]]) -> str:
    """The answer to ``messages``, which is printed while it is written. Raises UserError where they do not fit."""
    shown = ""

    def show(ids: list[int]) -> None:
        nonlocal shown
        text = predictor.text([], ids)
        if text.startswith(shown):  # the beginning of a character that takes several tokens may change yet
            print(text[len(shown) :], end="", flush=True)
            shown = text

    row: dict[str, Any] = {"id": "typed", "messages": messages}
    example: Example = predictor.task.input_example(row)
    predictor.heard = show
    try:
        [[prediction, *_]] = predictor.complete([example], [len(messages)])
    finally:
        predictor.heard = None
    text = prediction.text or ""
    print(text.removeprefix(shown))
    return text
