"""A page in the browser for a trained model: a form for one row, the answer, and examples."""

from __future__ import annotations

import functools
import html
import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported

import gradio as gr
import yaml

from tasks.base import Column
from tasks.errors import UserError
from tasks.inference.answering import Model
from tasks.reading.sources import SAMPLES

#: Characters that a field for a long text takes, and any other: a book would keep all others waiting.
LONGEST, LONGEST_LINE = 20_000, 5_000
#: Requests that may wait; a further one is told that the queue is full.
WAITING = 20


@functools.cache
def translations() -> dict[str, dict[str, str]]:
    """{language: {key: text}} of words.yaml."""
    return yaml.safe_load(Path(__file__).with_name("words.yaml").read_text("utf-8"))


def language_of(request: gr.Request | None) -> str:
    """The first language that a browser asks for, where the page knows it, else English."""
    wanted = request.headers.get("accept-language", "")[:2].lower() if request else ""
    return wanted if wanted in translations() else "en"


def field_name(column: Column, language: str) -> str:
    """What a column is called above its field: in Korean the first alias in Hangul, where it has one."""
    korean = (alias for alias in column.aliases if re.match("[가-힣]", alias))
    own = column.name.replace("_", " ").capitalize()
    return next(korean, own) if language == "ko" else own


def marked(pieces: Iterable[tuple[str, str]]) -> str:
    """HTML of (text, kind): ``mark`` is what is looked for, ``dim`` what matters less, anything else plain."""
    tags = {"dim": '<span class="dim">{}</span>', "mark": "<mark>{}</mark>"}
    shown = (tags.get(kind, "{}").format(html.escape(text)) for text, kind in pieces if text)
    return f'<div class="marked">{"".join(shown)}</div>'


class Page:
    """The page of a model. A subclass for each ``Task.page`` has the components of the answer, and what they show of it.

    ``answer`` is the function behind the button: what it tells is what ``model`` returns, and so what predict.py writes.
    """

    def __init__(self, model: Model) -> None:
        self.model, self.task = model, model.task
        self.words = {}
        for language, words in translations().items():
            card = self.task.card[language]
            own = {f"column_{column.name}": field_name(column, language) for column in self.task.input_columns}
            self.words[language] = words | own | {"does": words["does"].format(card.does), "limit": card.limits[0]}
        self.say = gr.I18n(**self.words)  # say(key) is a text that the browser shows in its own language
        self.settings: dict[str, Any] = {}  # decoding settings that people choose, and their components

    def choose(self) -> None:
        """Make the components of ``settings``."""

    def outputs(self) -> list[Any]:
        """Make the components of the answer."""
        raise NotImplementedError

    def show(self, row: dict[str, str], found: dict[str, Any], words: dict[str, str]) -> tuple[list[Any], list[str]]:
        """The values of ``outputs``, and notes; ``found`` is what predict.py writes of ``row``."""
        raise NotImplementedError

    def examples(self) -> list[dict[str, Any]]:
        """The task's own example, and the first validation rows of its sample; a row that lacks a field is left out."""
        path = SAMPLES / self.task.name / "validation.jsonl"
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()[:2]] if path.is_file() else []
        return [self.task.usage_example, *rows]

    def build(self) -> gr.Blocks:
        """The page; ``launch`` serves it."""
        with gr.Blocks(title=self.task.name, analytics_enabled=False) as self.blocks:
            gr.Markdown(self.say("does"), elem_id="does")
            self.body()
            gr.Markdown(self.say("limit"), elem_id="limit")
        return self.blocks.queue(max_size=WAITING, default_concurrency_limit=1)

    def launch(self, **settings: Any) -> str:
        """Serve the page from a thread of this process, and return its address; ``settings`` are those of Gradio's."""
        quiet = {"share": False, "quiet": True, "run_history": False, "ssr_mode": False, "footer_links": ["settings"]}
        css, theme = Path(__file__).with_name("page.css"), gr.themes.Default(primary_hue="blue")
        return self.blocks.launch(**quiet, i18n=self.say, css_paths=css, theme=theme, **settings)[1]

    def body(self) -> None:
        """All between the first and the last line of the page."""
        columns = self.task.input_columns
        with gr.Row():
            with gr.Column():
                fields = [
                    gr.Textbox(
                        label=self.say(f"column_{column.name}"), elem_id=column.name, lines=8 if column.sentences else 2,
                        max_length=longest(column),
                    )
                    for column in columns
                ]  # fmt: skip
                self.choose()
                button = gr.Button(self.say("ask"), variant="primary", elem_id="ask")
            with gr.Column():
                outputs = self.outputs()
                state = gr.Markdown(elem_id="state")
                with gr.Accordion(self.say("details"), open=False):
                    written = gr.JSON(show_label=False)
        self.shown = len(outputs)
        whole = [row for row in self.examples() if all(column.name in row for column in columns)]
        examples = [[row[column.name] for column in columns] for row in whole]
        gr.Examples(examples, fields, label=self.say("examples"), elem_id="examples")
        inputs = [*fields, *self.settings.values()]
        button.click(self.answer, inputs, [*outputs, written, state], api_name="answer", show_progress="minimal")

    def answer(self, request: gr.Request, *values: Any) -> Iterator[list[Any]]:
        """Nothing while the model reads; then the answer, what predict.py writes of it, and what is to be said of it."""
        words, columns = self.words[language_of(request)], self.task.input_columns
        row = {column.name: value or "" for column, value in zip(columns, values)}
        nothing = [None] * (self.shown + 1)
        for column in columns:
            if problem := self.problem(column, row[column.name], words):
                yield [*nothing, f"⚠ {problem}"]
                return
        yield [*nothing, words["wait"]]
        started = time.perf_counter()
        try:
            found = self.model(row, **dict(zip(self.settings, values[len(row) :])))
        except UserError as error:
            yield [*nothing, f"⚠ {words['failed'].format(reason=str(error).removeprefix('row 0: '))}"]
            return
        seconds = time.perf_counter() - started
        shown, notes = self.show(row, found, words)
        yield [*shown, found, "  \n".join([*notes, words["done"].format(seconds=seconds)])]

    def problem(self, column: Column, text: str, words: dict[str, str]) -> str | None:
        """What is wrong with the text of a field, which may be empty or too long."""
        if not text.strip():
            return words["empty"].format(field=words[f"column_{column.name}"])
        if len(text) > longest(column):
            return words["long"].format(field=words[f"column_{column.name}"], length=len(text), limit=longest(column))
        return None


def longest(column: Column) -> int:
    """Characters that the field of a column takes."""
    return LONGEST if column.sentences else LONGEST_LINE
