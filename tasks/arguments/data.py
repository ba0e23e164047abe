"""The command line's part that says which rows: files, a Hub dataset or the sample, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass, field

from tasks.errors import UserError


@dataclass
class DataArguments:
    """Which rows. One source of three: files, --dataset, --sample_data; without any, the task's own Hub dataset."""

    dataset: str | None = field(
        default=None, metadata={"help": "Hub id (or folder) of a dataset; each task has a default, see docs/data.md."}
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of the Hub dataset."})
    dataset_revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of the Hub dataset."})
    train_file: str | None = field(
        default=None,
        metadata={"help": "csv, tsv, json (flat or SQuAD), jsonl, txt, parquet; several by a quoted glob."},
    )
    validation_file: str | None = field(default=None, metadata={"help": "Rows to measure on; the same types."})
    test_file: str | None = field(default=None, metadata={"help": "Rows for a last measurement after training."})
    sample_data: bool = field(default=False, metadata={"help": "The bundled sample: a few hundred rows, no network."})
    column_map: str | None = field(
        default=None, metadata={"help": "Our column names to yours: document=body,summary=title."}
    )
    validation_split: float = field(
        default=0.05, metadata={"help": "Random share of train to measure on, where no validation rows are given."}
    )
    max_train_samples: int | None = field(default=None, metadata={"help": "Use the first N rows, for a quick look."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Measure on the first N rows."})
    skip_bad_rows: bool = field(
        default=False, metadata={"help": "Drop and count rows with an empty field, an unknown label and the like."}
    )
    max_length: int | None = field(
        default=None, metadata={"help": "Tokens of a whole sequence; the model's positions, 1,024 at most, by default."}
    )
    preprocessing_num_workers: int | None = field(
        default=None, metadata={"help": "Processes that format and encode the rows; 1 by default."}
    )
    overwrite_cache: bool = field(
        default=False, metadata={"help": "Prepare the rows anew, though they are in the cache from an earlier start."}
    )
    streaming: bool = field(
        default=False,
        metadata={"help": "generate, scratch: read the training rows as they are needed; for corpora larger than memory."},
    )
    shuffle_buffer_size: int = field(
        default=10_000, metadata={"help": "--streaming: rows that are held in memory to be shuffled."}
    )

    def __post_init__(self) -> None:
        """Raises UserError on numbers that prepare nothing."""
        for name in ("preprocessing_num_workers", "shuffle_buffer_size", "max_train_samples", "max_eval_samples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                way_out = ", or left out for all rows" if name.startswith("max_") else ""
                raise UserError(f"--{name} is {value}; it must be 1 or more{way_out}")
        if not 0 < self.validation_split < 1:
            raise UserError(f"--validation_split is {self.validation_split}; it must be between 0 and 1, such as 0.05")
