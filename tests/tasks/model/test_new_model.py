"""A tokenizer trained here loses nothing, holds every separator, and is the same one when it is loaded again."""

from __future__ import annotations

import json
import unicodedata

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tasks import TASKS, get_task
from tasks.errors import UserError
from tasks.model.config import load_config
from tasks.model.model_files import make_portable
from tasks.model.new_model import GPT2_SIZES, gpt2_config, qwen3_config, train_tokenizer
from tasks.model.tokenizer import add_separators, carries_korean, load_tokenizer
from tasks.preparing.encoding import Encoder
from tests.conftest import CORPUS, model_args

SEPARATORS = get_task("scratch").separators
RESERVED = 5 + len(SEPARATORS) + 100 + 256  # special tokens, separators of all tasks, free slots, bytes

TEXTS = [
    "서울은 대한민국의 수도이다.",
    "뷁 뛣 쀍",  # syllables that no corpus has
    "大韓民國 漢字",
    "😂👩‍👩‍👧🇰🇷ㅠㅠ^^",
    "첫 줄\n둘째 줄\r\n\n끝\n",
    "탭\t탭\t\t끝",
    "두  칸   세 칸 ",
    "<0x41> <0x0A>",
    "</s> <unk> <summarize> <unused0>",
    "▂ a\u00a0b \u200b \x00",
    "",
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(CORPUS * 2, 800, SEPARATORS, 64)


@pytest.mark.parametrize("text", TEXTS)
def test_every_text_comes_back_as_it_was(tokenizer, text):
    (ids,), _ = Encoder(tokenizer, 64, 8).tokenize([text])
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert tokenizer.unk_token_id not in ids


def test_decomposed_hangul_is_the_same_hangul(tokenizer):
    text = "서울은 대한민국의 수도이다. 뷁"
    decomposed = unicodedata.normalize("NFD", text)
    assert decomposed != text
    assert tokenizer(decomposed).input_ids == tokenizer(text).input_ids
    assert tokenizer.decode(tokenizer(decomposed).input_ids) == text


def test_frequent_words_are_single_tokens_and_begin_with_the_mark(tokenizer):
    assert tokenizer.tokenize("도서관에서 책을") == ["▁도서관에서", "▁책을"]


def test_a_line_break_is_a_token_of_its_own(tokenizer):
    tokens = tokenizer.tokenize("책을\n책을")
    assert tokens[0] == "▁책을"
    assert tokenizer.decode(tokenizer("책을\n책을").input_ids) == "책을\n책을"
    assert not any("\n" in token and token != "\n" for token in tokenizer.get_vocab())


def test_special_tokens_separators_and_free_slots_stand_in_front(tokenizer):
    names = tokenizer.convert_ids_to_tokens(range(5 + len(SEPARATORS)))
    assert names == ["<s>", "</s>", "<pad>", "<unk>", "<mask>", *map(str, SEPARATORS)]
    assert tokenizer.convert_tokens_to_ids(["<unused0>", "<unused99>"]) == [len(names), len(names) + 99]
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<s>", "</s>", "<pad>")
    assert tokenizer.model_max_length == 64
    for separator in SEPARATORS:
        (index,) = tokenizer(str(separator)).input_ids
        assert tokenizer.decode([index], skip_special_tokens=True) == ""


def test_a_task_built_on_it_needs_no_new_token(tokenizer):
    for name in TASKS:
        same, appended = add_separators(tokenizer, get_task(name).separators)
        assert same is tokenizer and appended == []


def test_the_vocabulary_is_as_large_as_asked_for_where_the_corpus_allows_it():
    texts = [f"{first}{second} " for first in "가나다라마바사아자차카타파하" for second in "각낙닥락막박삭악작착"] * 3
    for size in (RESERVED + 100, 500):
        tokenizer = train_tokenizer(texts, size, SEPARATORS, 64)
        assert len(tokenizer) == tokenizer.vocab_size == size


def test_rare_characters_take_at_most_half_of_the_room():
    rare = "".join(map(chr, range(0x4E00, 0x4E00 + 2000)))
    tokenizer = train_tokenizer([*CORPUS * 5, rare], RESERVED + 200, SEPARATORS, 64)
    single = [token for token in tokenizer.get_vocab() if len(token) == 1]
    assert len(single) <= 100
    assert len(tokenizer) == RESERVED + 200
    assert tokenizer.decode(tokenizer(rare).input_ids) == rare
    assert carries_korean(tokenizer)


@pytest.mark.parametrize("size", [-1, 0, RESERVED + 99])
def test_too_small_a_vocabulary_is_an_error(size):
    with pytest.raises(
        UserError, match=f"--vocab_size {size} is too small: .* take {RESERVED}; give {RESERVED + 100} or more"
    ):
        train_tokenizer(CORPUS, size, SEPARATORS, 64)


@pytest.mark.parametrize("texts", [[], [""]])
def test_an_empty_corpus_is_an_error(texts):
    with pytest.raises(UserError, match="the corpus has no text"):
        train_tokenizer(texts, 800, SEPARATORS, 64)


def test_training_twice_gives_the_same_tokenizer():
    first, second = (train_tokenizer(iter(CORPUS), 700, SEPARATORS, 64) for _ in range(2))
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()


def test_of_equally_rare_characters_those_of_lower_code_points_are_in_it():
    rare = [chr(code) for code in range(0x4E00, 0x4E00 + 300)]
    texts = [*CORPUS * 5, " ".join(reversed(rare))]
    frequent = {character for text in CORPUS * 2 for character in text}
    trained = [train_tokenizer(texts, RESERVED + 400, SEPARATORS, 64).backend_tokenizer.to_str() for _ in range(2)]
    assert trained[0] == trained[1]
    vocabulary = json.loads(trained[0])["model"]["vocab"]
    single = {token for token in vocabulary if len(token) == 1}
    assert len(single) == 200
    ours = [character for character in rare if character in single]
    assert ours == rare[: len(ours)] and 0 < len(ours) < len(rare)
    assert {character for character in frequent if not character.isspace()} <= single


def test_it_is_the_same_one_in_plain_auto_tokenizer_and_in_ours(tokenizer, tmp_path):
    gpt2_config("mini", tokenizer).save_pretrained(tmp_path)  # AutoTokenizer may not take it for GPT-2's kind
    tokenizer.save_pretrained(tmp_path)
    make_portable(tmp_path)
    arguments = model_args(str(tmp_path))
    for again in (AutoTokenizer.from_pretrained(tmp_path), load_tokenizer(arguments, load_config(arguments))):
        assert again.get_vocab() == tokenizer.get_vocab()
        assert again.special_tokens_map == tokenizer.special_tokens_map
        for text in TEXTS:
            assert again(text).input_ids == tokenizer(text).input_ids
            assert again.decode(again(text).input_ids) == tokenizer.decode(tokenizer(text).input_ids)


@pytest.mark.parametrize("size", GPT2_SIZES)
def test_a_qwen3_has_as_many_weights_outside_the_embeddings_as_a_gpt2(tokenizer, size):
    counts = []
    for config in (gpt2_config(size, tokenizer), qwen3_config(size, tokenizer)):
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
        named = model.base_model.named_parameters()
        counts.append(sum(p.numel() for name, p in named if not name.startswith(("wte", "wpe", "embed_tokens"))))
    assert counts[1] == pytest.approx(counts[0], rel=0.02)


def test_a_qwen3_has_the_sizes_and_special_tokens_it_was_asked_for(tokenizer):
    config = qwen3_config("mini", tokenizer, dropout=0.2)
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.head_dim) == (3, 128, 4, 32)
    assert (config.intermediate_size, config.num_key_value_heads, config.max_position_embeddings) == (344, 4, 64)
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id, config.attention_dropout) == (0, 1, 2, 0.2)
