"""The collators: batches of rows, whose labels stay as encoding made them."""

from __future__ import annotations

import inspect
import logging
from typing import Any

import torch
from transformers import (
    DataCollatorForLanguageModeling,
    DataCollatorWithFlattening,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils.generic import is_flash_attention_requested

from tasks.errors import UserError
from tasks.preparing.encoding import IGNORE


class CompletionCollator(DataCollatorForLanguageModeling):
    """Pads ``input_ids`` and the ``labels`` that encoding built; padding is -100 in the labels and 0 in the attention mask.

    Its parent replaces the labels by copies of ``input_ids``: the prompt would be learnt, and where pad is eos the end of a
    completion would not be (transformers#23530, trl#976).
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, pad_to_multiple_of: int | None = None) -> None:
        """Lengths that are multiples of 8 keep tensor cores busy (NVIDIA's mixed precision guide): so by default on a GPU.

        On CPU they only cost time: of rows of 30 tokens, a tenth would be padding.
        """
        if pad_to_multiple_of is None and torch.cuda.is_available():
            pad_to_multiple_of = 8
        super().__init__(tokenizer=tokenizer, mlm=False, pad_to_multiple_of=pad_to_multiple_of)

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """``input_ids``, ``attention_mask`` and ``labels``, each [rows, longest row], right-padded."""
        examples = examples or _nothing(self.tokenizer)
        longest = max(len(example["input_ids"]) for example in examples)
        multiple = self.pad_to_multiple_of or 1
        shape = (len(examples), -(-longest // multiple) * multiple)
        batch = {
            "input_ids": torch.full(shape, self.tokenizer.pad_token_id),
            "attention_mask": torch.zeros(shape, dtype=torch.long),
            "labels": torch.full(shape, IGNORE),
        }
        for row, example in enumerate(examples):
            length = len(example["input_ids"])
            batch["input_ids"][row, :length] = torch.as_tensor(example["input_ids"])
            batch["attention_mask"][row, :length] = 1
            batch["labels"][row, :length] = torch.as_tensor(example["labels"])
        return batch


class PaddingFreeCollator(DataCollatorWithFlattening):
    """Rows concatenated to one long row: ``input_ids``, ``labels`` and ``position_ids``, each [1, tokens].

    Positions restart at each row, by which transformers' attention keeps the rows apart where there is no
    ``attention_mask`` and no cache (``masking_utils.find_packed_sequence_indices``).
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        # transformers takes a row that begins or ends with the pad token (eos, for GPT-2) for a padded one.
        logging.getLogger("transformers.modeling_utils").addFilter(_is_no_padding_warning)

    def __call__(self, features: list[dict[str, Any]], *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        """The batch of ``features``, in their order."""
        return super().__call__(features or _nothing(self.tokenizer), *args, **kwargs)


def _is_no_padding_warning(record: logging.LogRecord) -> bool:
    return "passing in an `attention_mask`" not in str(record.msg)


def is_padding_free(model: PreTrainedModel, asked: bool | None) -> bool:
    """Whether batches are without padding: where asked for, else where FlashAttention reads such rows at no cost.

    Other attention makes a mask of tokens x tokens of them.

    Raises:
        UserError: it was asked for, and the model takes no positions.
    """
    takes_positions = "position_ids" in inspect.signature(model.forward).parameters
    if asked and not takes_positions:
        raise UserError(f"--padding_free: {type(model).__name__} takes no positions to tell the rows apart by")
    return takes_positions and is_flash_attention_requested(model.config) if asked is None else asked


def _nothing(tokenizer: PreTrainedTokenizerFast) -> list[dict[str, list[int]]]:
    """A row without a label, by which a process without a row in an uneven last batch takes part in the step."""
    return [{"input_ids": [tokenizer.pad_token_id], "labels": [IGNORE]}]
