"""Whatever a text holds, none of its ids is a special token: in training rows and prompts, in every kind of tokenizer."""

from __future__ import annotations

import pytest
from hypothesis import assume
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tasks import get_task
from tasks.base import BOS, Separator
from tasks.errors import UserError
from tasks.model.config import load_config
from tasks.model.new_model import train_tokenizer
from tasks.model.tokenizer import load_tokenizer
from tasks.preparing.encoding import Encoder
from tasks.preparing.spelling import spell_out
from tests.conftest import CORPUS, model_args, with_separators
from tests.helpers.fuzz import EXAMPLES, deadline, fuzz, is_writable, texts
from tests.helpers.task_rows import TRAINED

MARKERS = ["</s>", "<s>", "<unk>", "<pad>", "<unused0>", "<summarize>", "<sep>", "<nli>", "<question>", "<answer>", "<0x41>"]

#: A corpus that writes them as text so often that they are learnt as words.
MARKED = CORPUS + [f"책{marker} {marker}을 빌렸다{marker} {marker}{marker}" for marker in MARKERS] * 50


def unigram_tokenizer() -> PreTrainedTokenizerFast:
    """T5's and XGLM's kind, whose special tokens are pieces like all others."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<s>", "</s>", "<unk>", "<pad>", "<unused0>", "<unused1>"]
    trainer = trainers.UnigramTrainer(vocab_size=400, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(MARKED, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", bos_token="<s>", unk_token="<unk>", pad_token="<pad>"
    )


@pytest.fixture(scope="module", params=["kogpt2", "gpt2", "llama", "neox", "unigram", "scratch"])
def tokenizer_of(request):
    """A function from a task to the tokenizer of one layout."""

    def make(task):
        if request.param == "unigram":
            return with_separators(unigram_tokenizer(), task)[0]
        if request.param == "scratch":
            scratch = train_tokenizer(MARKED, 700, map(Separator, get_task("scratch").separators), 128)
            return with_separators(scratch, task)[0]
        arguments = model_args(request.getfixturevalue(f"{request.param}_folder"))
        return with_separators(load_tokenizer(arguments, load_config(arguments)), task)[0]

    return make


def special_ids(tokenizer) -> set[int]:
    """Every id that text may not have. <unk> is what an unknown character is; where it is eos, too, it is none."""
    listed = tokenizer.backend_tokenizer.get_added_tokens_decoder()
    special = {index for index, token in listed.items() if token.special}
    return special - {tokenizer.unk_token_id} | {tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id}


@EXAMPLES
@pytest.mark.parametrize("name", TRAINED)
def test_text_never_becomes_a_special_token(tokenizer_of, name, examples):
    task = get_task(name)
    tokenizer = tokenizer_of(task)
    special = special_ids(tokenizer)
    whole = task.output_type == "loglikelihood"  # the prompt is bos alone
    written = texts.filter(lambda text: is_writable(text) and text.strip()) | st.sampled_from(MARKED)

    @fuzz(examples, first=written, second=written, length=st.sampled_from([128, 64]))
    def check(first, second, length):
        encoder = Encoder(tokenizer, length, 16)
        source, *others = (column.name for column in task.input_columns)
        answers = {column.name: next(iter(task.label_words), second) for column in task.target_columns}
        row = {
            "id": "1",
            source: f"{second} {first}" if task.extractive else first,
            **dict.fromkeys(others, second),
            **answers,
        }
        (plain,), (offsets,) = encoder.tokenize([first], offsets=True)
        assert not special & set(plain)
        assert len(plain) == len(offsets)
        assert all(0 <= start <= end <= len(first) for start, end in offsets)
        example = task.format(row)
        parts = [part for part in task.prompt(row) if isinstance(part, Separator) and part != BOS]
        parts = list(task.separators) if task.conversational else parts  # they stand in the chat template
        assert task.optional_columns or parts == list(task.separators)
        separators = [tokenizer.convert_tokens_to_ids(part) for part in parts]
        begin = encoder.prefix or ([tokenizer.bos_token_id] if whole else [])
        try:
            learnt = encoder.training_rows([example])
        except UserError as error:
            assert task.conversational and "the last question has" in str(error)  # it is never cut
            return
        assume(learnt or not whole)  # a text of nothing but what the tokenizer drops
        found = [index for sequence in learnt for index in sequence["input_ids"] if index in special]
        assert found in ([], [*begin, *separators, tokenizer.eos_token_id])
        asked = task.input_example(row)
        fixed = sum(len(part.ids) for part in encoder.parts([asked])[0] if part.source is None)
        if fixed < length - 16:
            for prompt in encoder.prompts([asked])[0]:
                assert [index for index in prompt if index in special] == [*begin, *separators]


def test_pieces_of_a_marker_come_back_as_its_text(tokenizer_of):
    task = get_task("summarize")
    tokenizer = tokenizer_of(task)
    for marker in ("</s>", "<summarize>", "<pad>", "<0x41>"):
        for text in (marker, f"책{marker}책", f"다{marker}나", f"{marker}{marker} 책"):
            (ids,), _ = Encoder(tokenizer, 128, 16).tokenize([text])
            if tokenizer.unk_token_id in ids and tokenizer.unk_token != tokenizer.eos_token:
                continue  # a character that this small vocabulary lacks
            assert tokenizer.decode(ids, skip_special_tokens=True).strip() == text


def test_offsets_of_what_is_spelled_out_are_those_of_the_whole():
    assert spell_out([5, 1, 6], {1: [7, 8, 9]}, [(0, 2), (2, 6), (6, 7)]) == (
        [5, 7, 8, 9, 6],
        [(0, 2), (2, 6), (2, 6), (2, 6), (6, 7)],
    )
    assert spell_out([5, 1], {1: [7]}, None) == ([5, 7], [])


def test_ten_megabytes_of_one_text(kogpt2_folder):
    arguments = model_args(kogpt2_folder)
    encoder = Encoder(load_tokenizer(arguments, load_config(arguments)), 128, 16)
    with deadline(120):
        (ids,), _ = encoder.tokenize(["가" * 3_000_000 + "</s>" * 250_000])
    assert ids and encoder.tokenizer.eos_token_id not in ids


def test_a_corpus_full_of_markers_teaches_no_merge_that_builds_them():
    corpus = ["끝</s> 그는 <unused0>말 책<summarize>책 <0x41>b<0x41>"] * 200 + [
        *CORPUS,
        "안녕하세요 aaa bb <>/sunmrize0123456789",
    ]
    tokenizer = train_tokenizer(corpus, 600, [Separator("<summarize>")], 128)
    encoder = Encoder(tokenizer, 128, 16)
    assert encoder._spellings.keys() <= special_ids(tokenizer)
    for text in ("a<0x41>b", "a</s>", "a<summarize>b"):
        (ids,), _ = encoder.tokenize([text])
        assert tokenizer.decode(ids) == text
        encoder._spellings = {}
        assert encoder.tokenize([text])[0] == [ids]  # the tokenizer is right by itself, elsewhere, too
