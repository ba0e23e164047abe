"""Conversation: turns in the model's own chat template, the loss on each answer and its end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.base import CardText, Column, Conversation, Example, HubDataset, Metric, Part, Prediction, Separator, Task
from tasks.errors import RowError
from tasks.text import text_of

#: Before what the user says, and before the answer, as in SK Telecom's chat models; both are tokens of KoGPT2.
USR, SYS = Separator("<usr>"), Separator("<sys>")

#: What data sets call the three roles.
ROLES = {name: name for name in ("system", "user", "assistant")} | {
    "human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant",
}  # fmt: skip

#: Counts of all_results.json, and what is said of them before training.
NOTES = {
    "turns_joined": "rows in which one side speaks twice in a row: these turns were joined",
    "answers_left_out": "rows that begin with an answer, which was left out: there is no question before it",
    "questions_left_out": "rows that end with a question, which was left out: there is no answer to learn",
}


def read_messages(value: Any, beside: Any = None) -> Any:
    """[{role, content}] from that, from ShareGPT's [{from, value}], or from a table's cell that holds either as JSON.

    A text, which is a question then, and what is neither are left as they are.
    """
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            told = json.loads(value)
        except (ValueError, RecursionError):
            told = None
        value = told if told and isinstance(told, list) and all(isinstance(one, dict) for one in told) else value
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        return value
    return [
        {"role": one.get("role", one.get("from")), "content": _whole(one.get("content", one.get("value")))} for one in value
    ]


def _whole(content: Any) -> Any:
    """A content of several parts, as OpenAI's {type, text}, as one text; others as they are."""
    parts = content if isinstance(content, list) and content else [None]
    texts = [part.get("text") if isinstance(part, dict) else None for part in parts]
    return "\n".join(texts) if all(isinstance(text, str) for text in texts) else content


class Chat(Task):
    """Answer in a conversation; measured by bits per character of the answers, beside the nearest training question's.

    The sequence is what the tokenizer's chat template makes of the messages. A tokenizer that has none gets one with
    ``<usr>`` before what the user says and ``<sys>`` before the answer; a system text stands before the first ``<usr>``.
    """

    name = "chat"
    page = "conversation"
    output_type = "generate_until"
    separators = (USR, SYS)
    chat_template = (
        "{%- for message in messages -%}"
        "{%- if message['role'] == 'system' -%}{{ message['content'] | trim }}"
        "{%- elif message['role'] == 'user' -%}{{ '<usr>' + message['content'] | trim }}"
        "{%- else -%}{{ '<sys>' }}{%- generation -%}{{ message['content'] | trim + eos_token }}{%- endgeneration -%}"
        "{%- endif -%}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{ '<sys>' }}{%- endif -%}"
    )
    input_columns = (
        Column(
            "messages",
            "a list of {role, content}, or a question",
            ("conversations", "conversation", "dialogue", "대화", "question", "Q", "질문", "instruction", "query", "prompt"),
            read=read_messages,
        ),
    )
    target_columns = (
        Column(
            "answer",
            "the answer to messages that are a question",
            ("A", "output", "response", "completion", "답변", "답", "대답", "응답"),
            optional=True,
        ),
        Column("input", "what the question is about", ("context",), optional=True),
        Column("system", "what the model is told before the conversation", ("system_prompt",), optional=True),
    )
    default_dataset = HubDataset("Bingsu/ko_alpaca_data", None, "train", None, "cc-by-nc-4.0")
    main_metric = "bits_per_character"
    metrics = {
        "bits_per_character": Metric("bits_per_character", "bits per character of the answers", "답변의 글자당 비트", False),
        "f1": Metric("f1", "character F1 (0-100)", "글자 F1 (0-100)", True),
        "rouge1": Metric("rouge", "ROUGE-1, morphemes", "ROUGE-1 (형태소)", True),
        "rouge2": Metric("rouge", "ROUGE-2, morphemes", "ROUGE-2 (형태소)", True),
        "rougeL": Metric("rouge", "ROUGE-L, morphemes", "ROUGE-L (형태소)", True),
        "ended": Metric("ended", "share of answers that end by themselves", "스스로 끝난 답변의 비율", True),
        "repetition": Metric("repetition", "repetition within answers", "답변 안의 반복"),
        "distinct_1": Metric("distinct_1", "distinct-1 of the answers", "답변의 distinct-1"),
        "distinct_2": Metric("distinct_2", "distinct-2 of the answers", "답변의 distinct-2"),
    }
    baselines = {
        "nearest training question, bits by character unigrams": "가장 비슷한 학습 질문, 비트는 글자 유니그램",
        "character unigrams": "글자 유니그램",
    }
    learned_baseline = True
    grouped_by = "messages"  # answers of one conversation are no independent draws
    conversational = True
    do_sample = True  # docs/chat.md has the figures: greedy answers repeat themselves and each other
    max_new_tokens = 256
    card = {
        "en": CardText(
            "answers in a Korean conversation",
            "Conversations like those of the training data, with people who know that they talk to a program.",
            (
                "It says what sounds likely, whether or not it is true: facts, numbers and advice are made up.",
                "It may repeat what its data holds, prejudice and personal details included.",
                "The training scripts read `<usr>` in a message as text, but `apply_chat_template` reads it as the marker: "
                "remove it from what strangers write.",
            ),
        ),
        "ko": CardText(
            "한국어 대화에서 답변을 씁니다",
            "학습 데이터와 비슷한 대화. 사용자에게 대화 상대가 프로그램임을 알려야 합니다.",
            (
                "사실인지와 상관없이 그럴듯한 말을 하며, 사실과 숫자와 조언을 지어냅니다.",
                "데이터에 있는 편견과 개인 정보를 되풀이할 수 있습니다.",
                "메시지에 글자로 적힌 `<usr>`를 학습 스크립트는 글자로 읽지만, `apply_chat_template`은 구분 토큰으로 "
                "읽습니다. 남이 쓴 글에서는 미리 지우세요.",
            ),
        ),
    }
    usage_example = {"messages": "주말에 비가 온대. 뭐 하면 좋을까?"}

    def prompt(self, row: dict[str, Any]) -> tuple[Part, ...]:
        """The messages up to the answer. Raises RowError as ``format``, and where the user does not have the last word."""
        turns, _ = _turns(row)
        if turns[-1][0] != "user":
            raise RowError("the last message is not the user's, so there is nothing to answer; leave it out")
        return (Conversation(tuple(turns)),)

    def format(self, row: dict[str, Any]) -> Example:
        """The completion and the one reference are the last answer; the others are in the prompt.

        Raises:
            RowError: there is no answer, a message without text or with an unknown role, or a system text in the middle.
        """
        turns, notes = _turns(row)
        if row.get("answer") is not None or isinstance(row.get("messages"), str):
            turns.append(("assistant", text_of(row, "answer").strip()))
        first = int(turns[0][0] == "system")
        if turns[first:] and turns[first][0] == "assistant":
            del turns[first]
            notes.append("answers_left_out")
        if turns[first:] and turns[-1][0] == "user" and len(turns) > first + 1:
            del turns[-1]
            notes.append("questions_left_out")
        if turns[first:][1:] == []:
            raise RowError("the conversation has no answer after a question; drop such rows with --skip_bad_rows")
        *history, (_, answer) = turns
        return Example(row["id"], (Conversation(tuple(history)),), answer, (answer,), notes=tuple(notes))

    def notices(self, counts: Mapping[str, Mapping[str, int]]) -> list[str]:
        """Turns that were joined or left out."""
        found = ((split, row[note], what) for split, row in counts.items() for note, what in NOTES.items() if row.get(note))
        return [f"{split}: {count:,} {what}" for split, count, what in found]

    def metric(self) -> Any:
        """Bits per character of the right answers; character F1 and ROUGE of what was written."""
        from tasks.metrics.chat import Answers

        return Answers()

    def metric_inputs(self, predictions: Sequence[Prediction]) -> dict[str, list[Any]]:
        """What was written beside the right answers, the nats of these, and whether what was written ended by itself."""
        return super().metric_inputs(predictions) | {
            "nats": [prediction.scores.get("nll", 0.0) for prediction in predictions],
            "characters": [prediction.scores.get("characters", 0) for prediction in predictions],
            "ended": [not prediction.scores.get("unfinished", False) for prediction in predictions],
        }

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Any]:
        """The metric's figures, and how much the answers repeat themselves and each other."""
        from tasks.metrics.language_model import distinct_n, repetition

        texts = [prediction.text or "" for prediction in predictions]
        variety = {"repetition": repetition(texts), "distinct_1": distinct_n(texts, 1), "distinct_2": distinct_n(texts, 2)}
        return super().score(predictions) | variety

    def baseline(self, examples: Sequence[Example], train: Sequence[Example] | None = None) -> dict[str, Any]:
        """The answer of the nearest training question, which has no likelihood; the bits are those of character unigrams.

        These are fitted on the very answers that are measured, which favours the baseline.
        """
        from tasks.metrics.chat import nearest
        from tasks.metrics.language_model import unigram_bits_per_character

        nearest_answer, unigrams = self.baselines
        bits = unigram_bits_per_character([example.references[0] for example in examples])
        found: dict[str, Any] = {"baseline": unigrams, "baseline_bits_per_character": bits}
        if train is None:
            return found
        known = [(each.conversation[-1][1], each.completion or "") for example in train for each in example.answers()]
        asked = [example.conversation[-1][1] for example in examples]
        texts = [known[place][1] for place in nearest(asked, [question for question, _ in known])]
        scores = self.score([Prediction(one.id, "", text, one.references) for one, text in zip(examples, texts)])
        own = {f"baseline_{name}": scores[name] for name in scores if name not in ("bits_per_character", "ended")}
        return found | own | {"baseline": nearest_answer}


def _turns(row: dict[str, Any]) -> tuple[list[tuple[str, str]], list[str]]:
    """The (role, text) of a row without its ``answer``, and the notes of what was joined."""
    given, turns, notes = row.get("messages"), [], Counter()
    if not isinstance(given, list):
        asked = text_of(row, "messages").strip()
        more = text_of(row, "input").strip() if row.get("input") not in (None, "") else ""
        given = [{"role": "user", "content": f"{asked}\n{more}" if more else asked}]
    if row.get("system") not in (None, ""):
        given = [{"role": "system", "content": text_of(row, "system")}, *given]
    for number, message in enumerate(given, 1):
        if not isinstance(message, dict):
            raise RowError(f"message {number} is {str(message)[:40]!r}; give a list of {{role, content}}")
        role = ROLES.get(str(message.get("role")).strip().lower())
        if role is None:
            raise RowError(
                f"message {number} has the unknown role {message.get('role')!r:.40}; known are {', '.join(ROLES)}"
            )
        if role == "system" and number > 1:
            raise RowError(f"message {number} is the system's, which can only stand first; put it there, or leave it out")
        try:
            text = text_of(message, "content").strip()
        except RowError as error:
            raise RowError(f"message {number}: {error}") from None
        if turns and turns[-1][0] == role:
            notes["turns_joined"] += 1
            turns[-1] = (role, f"{turns[-1][1]}\n{text}")
        else:
            turns.append((role, text))
    if not turns:
        raise RowError("the conversation is empty; drop such rows with --skip_bad_rows")
    return turns, list(notes)
