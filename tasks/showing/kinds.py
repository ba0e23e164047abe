"""What the pages of the tasks show, by their ``Task.page``."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import gradio as gr

from tasks.base import Column, Example
from tasks.errors import UserError
from tasks.inference.answering import Model
from tasks.showing.page import LONGEST_LINE, Page, language_of, marked
from tasks.text import nfc

#: Pieces of a text, as ``marked`` takes them, and notes.
Pieces = tuple[list[tuple[str, str]], list[str]]


class Labels(Page):
    """A bar for the probability of each label."""

    def outputs(self) -> list[Any]:
        """The bars."""
        return [gr.Label(label=self.say("labels"), num_top_classes=10, elem_id="answer")]

    def show(self, row: dict[str, str], found: dict[str, Any], words: dict[str, str]) -> tuple[list[Any], list[str]]:
        """The ten most probable labels."""
        return [found["probabilities"]], [] if found["calibrated"] else [words["uncalibrated"]]


class Beside(Page):
    """What was written, and beneath it the text that it was made of: grey where the model could not read it."""

    def outputs(self) -> list[Any]:
        """The text written, and the source."""
        return [
            gr.Textbox(label=self.say("answer"), lines=3, buttons=["copy"], elem_id="answer"),
            gr.HTML(label=self.say("source"), container=True, show_label=True, elem_id="source"),
        ]

    def show(self, row: dict[str, str], found: dict[str, Any], words: dict[str, str]) -> tuple[list[Any], list[str]]:
        """The text written, and the source."""
        example = self.task.input_example(row | {"id": found["id"]})
        pieces, notes = self.source(example, found, words)
        return [found["prediction"], marked(pieces)], notes + [words["unfinished"]] * is_unfinished(found)

    def source(self, example: Example, found: dict[str, Any], words: dict[str, str]) -> Pieces:
        """The pieces of the source, as ``marked`` takes them, and notes."""
        text, end = example.source_text, read_until(self.model, example)
        notes = [words["unread"].format(share=1 - end / len(text))] if end < len(text) else []
        return [(text[:end], ""), (text[end:], "dim")], notes


class Span(Beside):
    """An answer, marked in the context that it was read from."""

    def source(self, example: Example, found: dict[str, Any], words: dict[str, str]) -> Pieces:
        """The context with the first place where the answer stands, and of a long one how it was read."""
        text, answer, scores = example.source_text, nfc(found["prediction"]), found.get("scores", {})
        before, there, after = text.partition(answer) if answer else (text, "", "")
        notes = [] if there else [words["elsewhere"]]
        if "windows" in scores:
            notes.append(words["windows"].format(windows=scores["windows"], score=scores["mean_logprob"]))
        return [(before, ""), (there, "mark"), (after, "")], notes


class Continued(Page):
    """Several texts that go on from a beginning, sampled as sliders say."""

    def choose(self) -> None:
        """As predict.py samples by default."""
        say, now = self.say, self.model.predictor.settings
        self.settings = {
            "top_k": gr.Slider(0, 200, now["top_k"], step=1, label=say("top_k"), elem_id="top_k"),
            "top_p": gr.Slider(0.05, 1, now["top_p"], step=0.05, label=say("top_p"), elem_id="top_p"),
            "temperature": gr.Slider(0.1, 2, now["temperature"], step=0.1, label=say("temperature"), elem_id="temperature"),
            "num_return_sequences": gr.Slider(1, 5, 3, step=1, label=say("count"), elem_id="count"),
            "seed": gr.Number(self.model.predictor.seed, precision=0, label=say("seed"), elem_id="seed"),
        }

    def outputs(self) -> list[Any]:
        """The texts."""
        return [gr.HTML(label=self.say("texts"), container=True, show_label=True, elem_id="answer")]

    def show(self, row: dict[str, str], found: dict[str, Any], words: dict[str, str]) -> tuple[list[Any], list[str]]:
        """The beginning in grey, and how it goes on."""
        beginning = row[self.task.input_columns[0].name].rstrip()
        texts = found.get("predictions", [found["prediction"]])
        return ["".join(marked([(beginning, "dim"), (text, "")]) for text in texts)], []

    def examples(self) -> list[dict[str, Any]]:
        """The beginnings of the rows."""
        column, (own, *rows) = self.task.input_columns[0].name, super().examples()
        samples = [self.task.sample_example(self.task.format({"id": "", **row})) for row in rows]
        return [own, *({column: sample.source_text} for sample in samples)]

    def problem(self, column: Column, text: str, words: dict[str, str]) -> str | None:
        """As in every page, but nothing is a beginning, too."""
        return super().problem(column, text, words) if text else None


class Conversation(Page):
    """Turns that are remembered, and an answer that is shown while it is written."""

    def body(self) -> None:
        """What the model is told first, what was said, and a field for the next question."""
        say = self.say
        told = gr.Textbox(label=say("told"), lines=2, max_length=LONGEST_LINE, elem_id="told")
        chat = gr.Chatbot(label=say("chat"), height=420, buttons=["copy"], render_markdown=False, elem_id="chat")
        asked = gr.Textbox(label=say("asked"), submit_btn=True, max_length=LONGEST_LINE, elem_id="asked")
        reset = gr.Button(say("reset"), elem_id="reset")
        state = gr.Markdown(elem_id="state")
        gr.Examples([[row["messages"]] for row in self.examples()[:1]], asked, label=say("examples"), elem_id="examples")
        asked.submit(self.reply, [asked, chat, told], [asked, chat, state], api_name="answer", show_progress="minimal")
        reset.click(lambda: ([], ""), None, [chat, state], api_visibility="private")

    def reply(self, request: gr.Request, asked: str, chat: list[dict[str, Any]], told: str) -> Iterator[list[Any]]:
        """The empty field, the conversation as far as it is written, and what is to be said of it."""
        words = self.words[language_of(request)] | {"column_messages": self.words[language_of(request)]["asked"]}
        if problem := self.problem(self.task.input_columns[0], asked, words):
            yield [asked, chat, f"⚠ {problem}"]
            return
        said = [{"role": turn["role"], "content": plain(turn["content"])} for turn in chat]
        said.append({"role": "user", "content": asked})
        row = {"messages": [*([{"role": "system", "content": told}] if told.strip() else []), *said]}
        yield ["", said, words["wait"]]
        predictor, pieces = self.model.predictor, SimpleQueue()
        predictor.heard = lambda ids: pieces.put(predictor.text([], ids))
        with ThreadPoolExecutor(1) as beside:
            found = beside.submit(self.model, row)
            found.add_done_callback(lambda _: pieces.put(None))
            while (text := pieces.get()) is not None:
                yield ["", [*said, {"role": "assistant", "content": text}], words["wait"]]
            predictor.heard = None
        try:
            answer = found.result()
        except UserError as error:
            yield [asked, chat, f"⚠ {words['failed'].format(reason=str(error).removeprefix('row 0: '))}"]
            return
        notes = words["unfinished"] * is_unfinished(answer)
        yield ["", [*said, {"role": "assistant", "content": answer["prediction"]}], notes]


def plain(content: Any) -> str:
    """The text of a turn, which Gradio gives as a list of parts."""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


#: ``Task.page`` -> the page.
PAGES: dict[str, type[Page]] = {
    "labels": Labels, "beside": Beside, "span": Span, "continued": Continued, "conversation": Conversation,
}  # fmt: skip


def page_of(model: Model) -> Page:
    """The page of a model's task, built."""
    page = PAGES[model.task.page](model)
    page.build()
    return page


def read_until(model: Model, example: Example) -> int:
    """The characters of an example's source that its prompt holds, from the first one on."""
    encoder = model.predictor.encoder
    prompt, parts = encoder.prompts([example])[0][0], encoder.parts([example])[0]
    read = len(prompt) - sum(len(part.ids) for part in parts if part.source is None)
    spans = encoder.tokenize([example.source_text], offsets=True)[1][0]
    return spans[read][0] if read < len(spans) else len(example.source_text)


def is_unfinished(found: dict[str, Any]) -> bool:
    """Whether the room for the text was used up."""
    return bool(found.get("scores", {}).get("unfinished"))
