"""Flags of the data: files, a Hub dataset or the sample, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from transformers.hf_argparser import HfArg

from tasks.arguments.checks import at_least
from tasks.base import Task
from tasks.errors import UserError


@dataclass
class DataArguments:
    """One source of rows: files, --dataset or --sample_data; by default the task's own Hub dataset."""

    dataset: str | None = HfArg(default=None, help="Hub id or folder of a dataset; see docs/data.md for the task's default.")
    dataset_config: str | None = HfArg(default=None, help="Configuration of the Hub dataset.")
    dataset_revision: str | None = HfArg(default=None, help="Branch, tag or commit of the Hub dataset.")
    train_file: str | None = HfArg(
        default=None, help="csv, tsv, xlsx, json (flat or SQuAD), jsonl, txt, parquet; several by a quoted glob or a folder."
    )
    validation_file: str | None = HfArg(default=None, help="Rows to measure on; the same types.")
    test_file: str | None = HfArg(default=None, help="Rows for a last measurement after training.")
    txt_unit: Literal["line", "paragraph", "file"] | None = HfArg(
        default=None, help="What a text of a .txt is: a line (the default), a paragraph between blank lines, or the file."
    )
    assistant_name: str | None = HfArg(
        default=None, help="chat: who of a KakaoTalk export's speakers answers; the name is not published."
    )
    session_hours: float = HfArg(default=3.0, help="chat: a pause of more hours ends a conversation of a KakaoTalk export.")
    sample_data: bool = HfArg(default=False, help="The bundled sample: a few hundred rows, no network.")
    column_map: str | None = HfArg(default=None, help="Our column names to yours: document=body,summary=title.")
    validation_split: float = HfArg(
        default=0.05, help="Random share of train to measure on, if no validation rows are given."
    )
    max_train_samples: int | None = HfArg(default=None, help="Use N rows, drawn by the seed, for a quick look.")
    max_eval_samples: int | None = HfArg(default=None, help="Measure on N rows, drawn by the seed.")
    skip_bad_rows: bool = HfArg(
        default=False, help="Drop and count rows that are damaged, or have an empty field, an unknown label and the like."
    )
    dry_run: Literal["rows", "step"] | None = field(
        default=None,
        metadata={
            "nargs": "?",
            "const": "rows",
            "help": "Show what was read, and three rows with the learnt part marked; write nothing. step: the time, too.",
        },
    )
    max_length: int | None = HfArg(
        default=None, help="Tokens of a whole sequence; by default what the model reads, at most 1,024."
    )
    label_words: str | None = HfArg(
        default=None, help="classify: what the model reads and writes for a label: 0=부정,1=긍정; by default its name."
    )
    label_form: Literal["tokens", "words"] | None = HfArg(
        default=None, help="classify: a token of its own for each label (the default), or its words."
    )
    head: bool = HfArg(
        default=False,
        help="classify, nli: train a classification head instead of what stands for a label.",
    )
    preprocessing_num_workers: int | None = HfArg(
        default=None, help="Processes that format and encode the rows; 1 by default."
    )
    overwrite_cache: bool = HfArg(default=False, help="Prepare the rows again instead of reading them from the cache.")
    streaming: bool = HfArg(
        default=False, help="generate, scratch: read training rows as they are needed, for large corpora."
    )
    shuffle_buffer_size: int = HfArg(default=10_000, help="--streaming: rows held in memory to be shuffled.")

    def of_parts(self, task: Task) -> list[DataArguments]:
        """The arguments of each part of a ``task``: these."""
        return [self]

    def __post_init__(self) -> None:
        at_least(self, 1, "preprocessing_num_workers", "shuffle_buffer_size")
        at_least(self, 1, "max_train_samples", "max_eval_samples", or_else=", or left out for all rows")
        if not self.session_hours > 0:
            raise UserError(f"--session_hours is {self.session_hours}; it must be over 0, such as 3")
        if not 0 < self.validation_split < 1:
            raise UserError(f"--validation_split is {self.validation_split}; it must be between 0 and 1, such as 0.05")
