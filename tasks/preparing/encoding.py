"""From Example to token ids: the one place where prompts are built, for training and for inference alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.base import BOS, Conversation, Example, Separator, Source
from tasks.errors import UserError
from tasks.preparing.conversations import ChatTemplate, Conversations
from tasks.preparing.spelling import spell_out, spellings, unknown_id

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from tasks.base import Task

#: Labels that the loss skips (the ignore_index of torch's cross entropy).
IGNORE = -100

#: What is counted of the rows of a split, in the order that people read.
COUNTS = (
    "rows", "answers", "skipped", "dropped", "cut", "without_oldest_turns", "read_in_windows", "split",
    "longer_than_max_new_tokens", "unwritable", "unknown_tokens", "tokens", "labelled_tokens",
)  # fmt: skip

#: Another count: rows of a split whose input is in train, too. Missing where they were not counted.
SHARED = "shared_with_train"


class Tokens(NamedTuple):
    """A tokenised part of a prompt. ``offsets`` are the characters (start, end) of each token of a Source to be kept."""

    ids: list[int]
    source: Source | None = None
    offsets: list[tuple[int, int]] | None = None


class Encoder:
    """Encodes the examples of one task for one tokenizer.

    A sequence holds at most ``max_length`` tokens, of which a prompt leaves ``max_new_tokens`` free, in training too, so
    that a document is cut at the same token as at inference. Text never becomes a special token: a ``</s>`` or
    ``<summarize>`` in a document is split into pieces.

    ``counts`` says what happened to the rows seen so far: ``cut`` sources, ``dropped`` rows with no room for anything, rows
    ``read_in_windows``, and ``split`` texts that became several sequences; completions that are ``unwritable``, since they
    hold a character without a token, or ``longer_than_max_new_tokens``, so that no prediction reaches their end; of
    conversations the ``answers``, and those that are read ``without_oldest_turns``.

    ``unknown`` is the token of a character that the vocabulary lacks; None where there is no such character.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        max_length: int,
        max_new_tokens: int,
        *,
        settings: dict[str, Any] | None = None,
        new_ids: Sequence[int] = (),
    ) -> None:
        """``settings`` are the decoding settings; ``new_ids`` are tokens of the task that the model may have no row for.

        Raises:
            UserError: no room is left for a prompt.
        """
        if max_new_tokens >= max_length:
            raise UserError(
                f"max_new_tokens {max_new_tokens} leaves no room for a prompt within max_length {max_length}; "
                "lower --max_new_tokens or raise --max_length"
            )
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.max_new_tokens = max_new_tokens
        self.settings = settings or {}
        self.new_ids = new_ids
        self.of_parts: list[Encoder] = [self]  # of several tasks the Encoder of each
        self.classes: dict[str, int] | None = None  # of a classification head: what stands for a label -> its number
        self.revision: str | None = None  # the commit that the tokenizer was read at, which the weights are read at, too
        self.counts: Counter[str] = Counter()
        self._added = tokenizer.get_added_vocab()
        self.unknown = unknown_id(tokenizer)
        self._spellings = spellings(tokenizer)
        self.chat = ChatTemplate(tokenizer, self._spellings)
        self.conversations = Conversations(self)
        # What the tokenizer itself puts in front of every text (Llama's bos): the model has never seen a text without it.
        prefix = tokenizer("").input_ids[:1]
        self.prefix = prefix if prefix == [tokenizer.bos_token_id] else []

    def tokenize(self, texts: Sequence[str], offsets: bool = False) -> tuple[list[list[int]], list[list[tuple[int, int]]]]:
        """Ids (and character offsets) of plain texts, no special token added and none recognised."""
        # The tokenizers library itself: the call of transformers makes masks and type ids of each text besides.
        backend = self.tokenizer.backend_tokenizer
        backend.encode_special_tokens = True  # transformers sets it at each of its own calls
        encoded = (backend.encode_batch if offsets else backend.encode_batch_fast)(list(texts), add_special_tokens=False)
        ids, spans = [text.ids for text in encoded], [text.offsets for text in encoded] if offsets else []
        for i, row in enumerate(ids):
            if not self._spellings.keys().isdisjoint(row):
                ids[i], spread = spell_out(row, self._spellings, spans[i] if offsets else None)
                if offsets:
                    spans[i] = spread
        return ids, spans

    def parts(self, examples: Sequence[Example]) -> list[list[Tokens]]:
        """The tokenised parts of each example's prompt. All texts of the batch go through the tokenizer in two calls."""
        flat = [part for example in examples for part in example.prompt]
        found = [part for part in flat if isinstance(part, Source)]
        kept = any(part.keep for part in found)  # offsets cost as much as the ids
        source_ids, source_offsets = self.tokenize([part.text for part in found], offsets=kept)
        sources = iter(zip(source_ids, found, source_offsets or [None] * len(found)))
        texts = iter(self.tokenize([part for part in flat if type(part) is str])[0])

        def tokens(part: Any) -> Tokens:
            if isinstance(part, Source):
                return Tokens(*next(sources))
            if isinstance(part, Conversation):
                return Tokens(self.chat.ids(part.messages, asked=True))
            return Tokens([self.separator_id(part)] if isinstance(part, Separator) else next(texts))

        def begun(example: Example) -> bool:  # a chat template writes bos itself
            return example.prompt[:1] == (BOS,) or bool(example.conversation)

        start = Tokens(self.prefix)
        return [[*([] if begun(example) else [start]), *map(tokens, example.prompt)] for example in examples]

    def separator_id(self, separator: Separator) -> int:
        """The one token of a separator. Raises UserError where the tokenizer was not given it."""
        if separator == BOS:
            return self.tokenizer.bos_token_id
        index = self._added.get(separator)
        if index is None:
            raise UserError(f"the tokenizer has no token {separator}; this model was made for another task")
        return index

    def completions(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of completions, eos left out; a label may be a separator."""
        ids, _ = self.tokenize(texts)
        return [[self.separator_id(t)] if isinstance(t, Separator) else row for t, row in zip(texts, ids)]

    def label_ids(self, task: Task) -> list[list[int]]:
        """The ids by which each label of ``task`` is scored.

        Words that come from the data end in eos: one of them may begin another, such as 1 and 10.
        """
        words = list(task.label_words.values())
        end = [self.tokenizer.eos_token_id] if task.learns_labels else []
        return [ids if isinstance(word, Separator) else ids + end for word, ids in zip(words, self.completions(words))]

    def keep_room_for_labels(self, task: Task) -> None:
        """Leave the longest label free. Raises UserError where two labels are the same to the tokenizer."""
        seen: dict[tuple[int, ...], str] = {}
        for label, ids in zip(task.label_words, self.label_ids(task)):
            other = seen.setdefault(tuple(ids), label)
            if other != label:
                text = self.tokenizer.decode(ids[:-1])
                raise UserError(
                    f"the labels {other!r} and {label!r} are both {text!r} to this tokenizer; give them other words: "
                    f"--label_words {label}=WORD"
                )
        room = max(self.max_new_tokens, 1 + max((len(ids) for ids in seen), default=0))
        if room >= self.max_length:
            raise UserError(f"the longest label has {room - 1} tokens, and a sequence {self.max_length}; raise --max_length")
        self.max_new_tokens = self.settings["max_new_tokens"] = room

    def unknown_characters(self, texts: Sequence[str], most: int = 10) -> list[str]:
        """The characters of ``texts`` that have no token, the most frequent first, ``most`` of them."""
        found: Counter[str] = Counter()
        for text, ids, spans in zip(texts, *self.tokenize(texts, offsets=True)):
            found.update(text[slice(*spans[i])].strip() for i, index in enumerate(ids) if index == self.unknown)
        return [character for character, _ in found.most_common(most)]

    def prompts(self, examples: Sequence[Example]) -> list[list[list[int]]]:
        """The prompts of each example, as inference reads them: one, or one a window of a long context.

        Examples that already have ``prompt_ids`` are not tokenised again.

        Raises:
            UserError: what may not be cut (a question, a typed beginning) does not fit.
        """
        new = [example for example in examples if example.prompt_ids is None]
        made = iter([[self.conversations.history(example)[1]] for example in new if example.conversation])
        if not any(example.conversation for example in new):
            made = (self._prompts(example, parts) for example, parts in zip(new, self.parts(new)))
        return [next(made) if example.prompt_ids is None else example.prompt_ids for example in examples]

    def _prompts(self, example: Example, parts: list[Tokens]) -> list[list[int]]:
        budget = self.max_length - self.max_new_tokens
        prompts = [prompt for prompt, _ in self._fit(parts, budget)]
        if not prompts:
            fixed = sum(len(part.ids) for part in parts if part.source is None)
            raise UserError(
                f"row {example.id}: the prompt has {fixed} tokens that may not be cut, and {budget} fit; shorten it, or "
                f"change --max_length (now {self.max_length}) or --max_new_tokens (now {self.max_new_tokens})"
            )
        return prompts

    def training_rows(
        self, examples: Sequence[Example], prompts: list[list[list[int]]] | None = None
    ) -> list[dict[str, Any]]:
        """``{"id", "input_ids", "labels"}`` of each example that has something to learn; the prompt's labels are -100.

        A ``divisible`` completion that is too long becomes several sequences, so that nothing of it is lost; any other is
        kept whole and the source is cut. The list ``prompts``, if given, is extended by what ``self.prompts`` returns, and
        raises what that raises; each prompt is tokenised once for both. With ``classes`` the label of the token after the
        prompt is the class, -100 where there is no such class, so that batches and losses are as for a next token.
        """
        if any(example.conversation for example in examples):
            return [row for example in examples for row in self._conversation_rows(example, prompts)]
        completions = self.completions(["" if self.classes else example.completion or "" for example in examples])
        rows: list[dict[str, Any]] = []
        for example, parts, completion in zip(examples, self.parts(examples), completions):
            if prompts is not None:
                prompts.append(self._prompts(example, parts))
            unknown = completion.count(self.unknown) + sum(part.ids.count(self.unknown) for part in parts)
            if unknown:
                self.counts["unknown_tokens"] += unknown
                self.counts["unwritable"] += self.unknown in completion
            labels = [*completion, self.tokenizer.eos_token_id]
            if completion and example.divisible:
                prompt = [index for part in parts for index in part.ids]
                rows += ({"id": example.id} | row for row in self._split(prompt, labels))
                continue
            if len(labels) > self.max_new_tokens:
                self.counts["longer_than_max_new_tokens"] += 1
            budget = self.max_length - max(self.max_new_tokens, len(labels))
            learns = completion or self.classes
            windows = [prompt for prompt, whole in self._fit(parts, budget, count=True) if whole] if learns else []
            if not windows:
                self.counts["dropped"] += 1
                continue
            prompt = windows[len(windows) // 2]  # of those that hold the answer, the one with most text around it
            targets = [self.classes.get(example.completion, IGNORE)] if self.classes else labels
            rows.append({"id": example.id, "input_ids": prompt + labels, "labels": [IGNORE] * len(prompt) + targets})
        return rows

    def _conversation_rows(self, example: Example, prompts: list[list[list[int]]] | None) -> Iterator[dict[str, Any]]:
        for ids, learnt in self.conversations.sequences(example, prompts):
            labels = [IGNORE] * len(ids)
            for start, end in learnt:
                labels[start:end] = ids[start:end]
            yield {"id": example.id, "input_ids": ids, "labels": labels}

    def _split(self, prompt: list[int], text: list[int]) -> Iterator[dict[str, list[int]]]:
        """A text as one sequence, or as several of full length that follow each other without overlap."""
        room = self.max_length - len(prompt)
        self.counts["split"] += len(text) > room
        yield {"input_ids": prompt + text[:room], "labels": [IGNORE] * len(prompt) + text[:room]}
        for start in range(room, len(text), self.max_length - 1):
            # The token before is given as context, so that every token of the text is learnt from exactly once.
            chunk = text[start - 1 : start + self.max_length - 1]
            yield {"input_ids": chunk, "labels": [IGNORE, *chunk[1:]]}

    def _fit(self, parts: list[Tokens], budget: int, count: bool = False) -> Iterator[tuple[list[int], bool]]:
        """The prompts of at most ``budget`` tokens, and whether each holds all of what ``Source.keep`` asks for.

        A source without windows loses its end. One with windows is read in steps of half a window, so that every span of up
        to half a window is whole in one of them.
        """
        place = next((i for i, part in enumerate(parts) if part.source), len(parts))
        before = [index for part in parts[:place] for index in part.ids]
        after = [index for part in parts[place + 1 :] for index in part.ids]
        if place == len(parts):
            if len(before) <= budget:
                yield before, True
            return
        ids, source, offsets = parts[place]
        room = budget - len(before) - len(after)
        if room <= 0:
            return
        starts = [0]
        if len(ids) > room:
            if source.windows:
                starts = [*range(0, len(ids) - room, max(1, room // 2)), len(ids) - room]
            if count:
                self.counts["read_in_windows" if source.windows else "cut"] += 1
        for start in starts:
            window = ids[start : start + room]
            covered = offsets[start : start + room] if source.keep else []
            whole = not source.keep or bool(covered and covered[0][0] <= source.keep[0] and covered[-1][1] >= source.keep[1])
            yield before + window + after, whole


def sequence_length(requested: int | None, tokenizer: PreTrainedTokenizerFast) -> int:
    """Tokens of a whole sequence: ``requested``, or what the model reads but 1,024 at most, which two cores still bear.

    Raises:
        UserError: more is asked for than the model has positions.
    """
    positions = tokenizer.model_max_length
    if requested is None:
        return min(positions, 1024)
    if not 2 <= requested <= positions:
        raise UserError(f"--max_length is {requested}; this model reads from 2 to {positions} tokens")
    return requested
