"""The collator pads, and the labels stay as encoding made them."""

from __future__ import annotations

import logging

import pytest
import torch
from transformers import DataCollatorForLanguageModeling

from tasks.model.speedups import head_on_labels_only
from tasks.training.collator import CompletionCollator, PaddingFreeCollator
from tests.conftest import gpt2, tokenizer_of

ROWS = [
    {"input_ids": [20, 21, 22, 1], "labels": [-100, -100, 22, 1]},
    {"input_ids": [30, 1], "labels": [-100, 1]},
]


def test_rows_are_padded_on_the_right_with_pad_zero_and_minus_100(kogpt2_folder):
    batch = CompletionCollator(tokenizer_of(kogpt2_folder), pad_to_multiple_of=None)(ROWS)
    assert batch["input_ids"].tolist() == [[20, 21, 22, 1], [30, 1, 3, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch["labels"].tolist() == [[-100, -100, 22, 1], [-100, 1, -100, -100]]
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


@pytest.mark.parametrize(("length", "width"), [(1, 8), (7, 8), (8, 8), (9, 16), (16, 16), (17, 24)])
def test_on_a_gpu_the_width_is_the_next_multiple_of_8(kogpt2_folder, monkeypatch, length, width):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    batch = CompletionCollator(tokenizer_of(kogpt2_folder))([{"input_ids": [20] * length, "labels": [20] * length}])
    assert {tuple(tensor.shape) for tensor in batch.values()} == {(1, width)}
    assert batch["attention_mask"].sum() == length


def test_eos_keeps_its_label_where_pad_is_eos_and_prompts_stay_masked(gpt2_folder):
    tokenizer = tokenizer_of(gpt2_folder)
    eos = tokenizer.eos_token_id
    assert tokenizer.pad_token_id == eos
    rows = [{"input_ids": [20, 21, eos], "labels": [-100, 21, eos]}, {"input_ids": [30, eos], "labels": [-100, eos]}]
    batch = CompletionCollator(tokenizer, pad_to_multiple_of=None)(rows)
    assert batch["labels"].tolist() == [[-100, 21, eos], [-100, eos, -100]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]


def test_the_parent_would_learn_the_prompt_and_mask_eos(gpt2_folder):
    # Why the subclass exists; once this fails, transformers has mended it.
    tokenizer = tokenizer_of(gpt2_folder)
    eos = tokenizer.eos_token_id
    rows = [{"input_ids": [20, 21, eos], "labels": [-100, 21, eos]}]
    parent = DataCollatorForLanguageModeling(tokenizer, mlm=False)(rows)
    assert parent["labels"].tolist() == [[20, 21, -100]]
    assert CompletionCollator(tokenizer, pad_to_multiple_of=None)(rows)["labels"].tolist() == [[-100, 21, eos]]


def test_it_is_a_data_collator_for_language_modeling(kogpt2_folder):
    collator = CompletionCollator(tokenizer_of(kogpt2_folder))
    assert isinstance(collator, DataCollatorForLanguageModeling)
    assert not collator.mlm


def test_the_rows_that_come_in_are_not_changed(kogpt2_folder):
    rows = [{"input_ids": [20, 1], "labels": [-100, 1]}, {"input_ids": [20, 21, 1], "labels": [-100, 21, 1]}]
    CompletionCollator(tokenizer_of(kogpt2_folder))(rows)
    assert rows[0] == {"input_ids": [20, 1], "labels": [-100, 1]}


def test_padding_free_rows_stand_one_behind_the_other_and_count_from_zero(kogpt2_folder):
    rows = [*ROWS, {"input_ids": [40, 41], "labels": [40, 41]}]  # the first token of a row has nothing to be guessed from
    batch = PaddingFreeCollator(tokenizer_of(kogpt2_folder))(rows)
    assert batch["input_ids"].tolist() == [[20, 21, 22, 1, 30, 1, 40, 41]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1, 0, 1]]
    assert batch["labels"].tolist() == [[-100, -100, 22, 1, -100, 1, -100, 41]]
    assert rows[2]["labels"] == [40, 41]


def test_rows_without_padding_are_not_warned_of(kogpt2_folder, monkeypatch):
    model = gpt2(50)
    model.config.pad_token_id = 0
    logger, messages = logging.getLogger("transformers.modeling_utils"), []
    monkeypatch.setattr(logger, "filters", [])
    monkeypatch.setattr(logger, "handle", lambda record: messages.append(record.msg) if logger.filter(record) else None)

    def told(action) -> int:
        logging.Logger.warning_once.cache_clear()  # it says the same only once
        messages.clear()
        action()
        return len(messages)

    assert told(lambda: head_on_labels_only(model)) == 0  # tries the head on tokens of which one is the pad token
    ids = torch.tensor([[5, 6, 0]])
    assert told(lambda: model(input_ids=ids)) == 1
    PaddingFreeCollator(tokenizer_of(kogpt2_folder))
    assert told(lambda: model(input_ids=ids)) == 0
