"""Conversations as token ids, which are those of stock ``apply_chat_template``."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.base import BOS
from tasks.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from tasks.base import Example, Task


Messages = Sequence[tuple[str, str]]

#: A template that a run of this project gave to its tokenizer begins with it.
OURS = "{#- made by korean-causal-lm-tasks -#}"

#: A template whose sequences begin with bos whatever the tokenizer adds by itself.
BEGIN = "{{- bos_token -}}"

#: Stands for each character of marker text in a message while it is looked for.
HIDDEN = "\ue000"


class Answer(NamedTuple):
    """An answer with what is read before it: the ``start`` of the turns that are kept, and the whole ``ids`` up to its end.

    ``size`` is the length of its prompt, in tokens.
    """

    start: int
    ids: list[int]
    size: int


class ChatTemplate:
    """Writes conversations for one tokenizer, by its chat template.

    The ids are those of ``apply_chat_template(messages)["input_ids"]``, and with ``asked`` those of
    ``apply_chat_template(messages, add_generation_prompt=True)["input_ids"]``; only special tokens that stand as text in a
    message are spelled out, by ``spelled`` (``spelling.spellings``).
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, spelled: Mapping[int, list[int]]) -> None:
        """A tokenizer without a chat template can be given one later."""
        self.tokenizer = tokenizer
        self.spelled = spelled
        listed = tokenizer.backend_tokenizer.get_added_tokens_decoder().values()
        markers = sorted((token.content for token in listed if token.special), key=len, reverse=True)
        self._marker = re.compile("|".join(map(re.escape, markers)))

    def ids(self, messages: Messages, asked: bool = False) -> list[int]:
        """The token ids of ``messages``; with ``asked`` the next answer begins after them.

        Raises:
            UserError: the template refuses the messages.
        """
        texts = [self._written(messages, asked)]
        if any(self._marker.search(text) for _, text in messages):
            covered = [(role, self._marker.sub(lambda found: HIDDEN * len(found[0]), text)) for role, text in messages]
            texts.append(self._written(covered, asked))
        backend = self.tokenizer.backend_tokenizer
        backend.encode_special_tokens = False  # as transformers sets it
        encoded = backend.encode(texts[0], add_special_tokens=False)
        if len(texts) == 1:
            return encoded.ids
        return [
            piece
            for index, (start, end) in zip(encoded.ids, encoded.offsets)
            for piece in (self.spelled.get(index, (index,)) if HIDDEN in texts[1][start:end] else (index,))
        ]

    def _written(self, messages: Messages, asked: bool) -> str:
        from jinja2 import TemplateError

        told = [{"role": role, "content": text} for role, text in messages]
        try:
            return self.tokenizer.apply_chat_template(told, tokenize=False, add_generation_prompt=asked)
        except (TemplateError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"the model's chat template refuses the conversation ({reason[:200]})") from None

    def history(self, messages: Messages, room: int, first: int | None = None) -> tuple[int, list[int]]:
        """The prompt of at most ``room`` tokens with as many of the last turns as fit, and which of them is its first.

        The system text is always kept. The turns before ``first`` are known not to fit.

        Raises:
            UserError: the last question is too long by itself.
        """
        system = messages[: int(messages[0][0] == "system")]
        starts = [i for i, (role, _) in enumerate(messages) if role == "user" and i >= (first or 0)]

        def prompt(start: int) -> list[int]:
            return self.ids([*system, *messages[start:]], asked=True)

        whole = prompt(starts[0])
        if len(whole) <= room:
            return starts[0], whole
        place = bisect_left(starts, True, key=lambda start: len(prompt(start)) <= room)
        if place == len(starts):
            raise UserError(f"the last question has {len(prompt(starts[-1]))} tokens with its markers, and {room} fit")
        return starts[place], prompt(starts[place])

    def answer(self, messages: Messages, start: int, prompt: list[int]) -> Answer:
        """The last of ``messages``, an answer, after its ``prompt`` from the turn ``start`` on.

        Raises:
            UserError: the template does not write the answer after its prompt, or does not end it with eos.
        """
        system = messages[: int(messages[0][0] == "system")]
        ids = self.ids([*system, *messages[start:]])
        return Answer(start, ids[: self.end(ids, prompt)], len(prompt))

    def end(self, ids: list[int], prompt: list[int]) -> int:
        """Where the answer after ``prompt`` ends in ``ids``, its eos included. Raises as ``answer``."""
        if ids[: len(prompt)] != prompt:
            raise UserError(
                "the model's chat template does not write a conversation as its prompt and then the answer, so that what "
                "is learnt would not be what is asked; take a model without it, or another chat_template.jinja"
            )
        try:
            return ids.index(self.tokenizer.eos_token_id, len(prompt)) + 1
        except ValueError:
            raise UserError(
                f"the model's chat template does not end an answer with {self.tokenizer.eos_token}, the tokenizer's eos, so "
                "that it would never stop; correct eos_token in tokenizer_config.json"
            ) from None


class Conversations:
    """The conversations of an ``encoder``: within its lengths, and counted there."""

    def __init__(self, encoder: Any) -> None:
        """``encoder`` is the Encoder, which may change its lengths later."""
        self.encoder = encoder

    def history(self, example: Example, room: int | None = None, first: int | None = None) -> tuple[int, list[int]]:
        """Which turn of a conversation is read first, and the prompt. Raises UserError as ``Encoder.prompts``."""
        encoder = self.encoder
        try:
            return encoder.chat.history(example.conversation, room or encoder.max_length - encoder.max_new_tokens, first)
        except UserError as error:
            raise UserError(
                f"row {example.id}: {error}; shorten it, or change --max_length (now {encoder.max_length}) or "
                f"--max_new_tokens (now {encoder.max_new_tokens})"
            ) from None

    def answers(self, examples: Sequence[Example]) -> list[list[int]]:
        """The ids of each right answer and its end, as they follow the example's prompt."""
        answers = [self._answer(example, *self.history(example)) for example in examples]
        return [answer.ids[answer.size :] for answer in answers]

    def sequences(
        self, example: Example, prompts: list[list[list[int]]] | None
    ) -> Iterator[tuple[list[int], list[tuple[int, int]]]]:
        """The ids to train on, and the spans (start, end) in them that are learnt.

        As few sequences as there are places where the turns that are read begin; each answer is learnt in one of them. What
        ``Encoder.prompts`` returns for the answers is added to ``prompts``.
        """
        counts, first, found = self.encoder.counts, None, {}
        for each in example.answers():
            counts["answers"] += 1
            first, prompt = self.history(each, first=first)
            if prompts is not None:
                prompts.append([prompt])
            answer = self._answer(each, first, prompt)
            length = len(answer.ids) - answer.size
            if length > self.encoder.max_new_tokens:  # its end is learnt all the same, after fewer turns
                counts["longer_than_max_new_tokens"] += 1
                try:
                    answer = self._answer(each, *self.history(each, self.encoder.max_length - length, first))
                except UserError:
                    counts["dropped"] += 1
                    continue
            counts["without_oldest_turns"] += answer.start > int(example.conversation[0][0] == "system")
            counts["unwritable"] += self.encoder.unknown in answer.ids[answer.size :]
            found.setdefault(answer.start, []).append(answer)
        counts["split"] += len(found) > 1
        for answers in found.values():
            ids = answers[-1].ids
            counts["unknown_tokens"] += ids.count(self.encoder.unknown)
            yield ids, [(answer.size, self.encoder.chat.end(ids, answer.ids[: answer.size])) for answer in answers]

    def _answer(self, example: Example, start: int, prompt: list[int]) -> Answer:
        turns = (*example.conversation, ("assistant", example.completion or ""))
        try:
            return self.encoder.chat.answer(turns, start, prompt)
        except UserError as error:
            raise UserError(f"row {example.id}: {error}") from None


def set_chat_template(tokenizer: PreTrainedTokenizerFast, task: Task, system: str = "") -> None:
    """Leave on ``tokenizer`` the chat template that the task's training follows.

    A conversation keeps the model's own and needs no separators then, else it gets the task's. ``system`` is what it is told
    where the messages do not begin with a system text. A template of the base that a task does not follow is removed.

    Raises:
        UserError: the template cannot be trained with, or ``system`` holds a marker.
    """
    own = tokenizer.chat_template
    own = own.get("default") if isinstance(own, dict) else own
    own = re.sub(r"^\{#- system -#\}.*?\{#- /system -#\}", "", own or "", flags=re.DOTALL)
    if not task.conversational or not own or own.startswith(OURS):
        adds_bos = tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]
        own = one_text_template(task) if task.chat_template is None else task.chat_template
        own = own and OURS + BEGIN * (adds_bos and not own.startswith(BEGIN)) + own
    else:
        task.separators = ()
    if system and own:
        if found := ChatTemplate(tokenizer, {})._marker.search(system):
            raise UserError(f"--system holds {found[0]}, a token of the model; leave it out")
        first = f"[{{'role': 'system', 'content': {jinja_text(system)}}}]"
        own = (
            "{#- system -#}{%- if not messages or messages[0]['role'] != 'system' -%}"
            f"{{%- set messages = {first} + messages -%}}{{%- endif -%}}{{#- /system -#}}{own}"
        )
    tokenizer.chat_template = own or None


def one_text_template(task: Task) -> str | None:
    """The template of a task that reads one text: a user message gives the ids of its prompt. None for other tasks."""
    if len(task.input_columns) != 1:
        return None
    column, text = task.input_columns[0], f"{HIDDEN} "
    prompt = [getattr(part, "text", part) for part in task.prompt({column.name: text})]
    content = {text: "{{- messages[0]['content'] -}}", HIDDEN: "{{- messages[0]['content'].rstrip() -}}", BOS: BEGIN}
    written = "".join(content.get(part) or f"{{{{- {jinja_text(part)} -}}}}" for part in prompt)
    return (
        f"{written}{{%- for message in messages[1:] -%}}"
        "{%- if message['role'] != 'assistant' or not loop.first -%}"
        f"{{{{ raise_exception({jinja_text(f'give one user message, {column.help}')}) }}}}{{%- endif -%}}"
        "{%- generation -%}{{ message['content'] + eos_token }}{%- endgeneration -%}{%- endfor -%}"
    )


def jinja_text(text: str) -> str:
    """``text`` as a string of a Jinja template."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"
