"""Let a trained model work: summaries, labels, answers or texts for a file, for standard input, or typed at a terminal.

python scripts/predict.py outputs/summarize-kogpt2-base-v2 --input_file articles.csv --output_file summaries.jsonl
echo "한 줄에 문서 하나" | python scripts/predict.py outputs/summarize-kogpt2-base-v2 --output_format text
python scripts/predict.py outputs/generate-kogpt2-base-v2 --prompt "옛날 옛적에" --top_k 40 --num_return_sequences 3
python scripts/predict.py outputs/qa-kogpt2-base-v2
python scripts/predict.py outputs/chat-kogpt2-base-v2
"""

from __future__ import annotations

from tasks.errors import handle_errors

handle_errors(__name__)  # from here on a mistake, or Ctrl-C, ends in one line

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from transformers.hf_argparser import HfArg

from tasks.arguments.checks import at_least
from tasks.arguments.command_line import parse_dataclasses
from tasks.arguments.generation import GenerationArguments
from tasks.arguments.model import ModelArguments
from tasks.distributed import is_first, world_size
from tasks.errors import UserError

if TYPE_CHECKING:
    from tasks.inference.predicting import Predictor


@dataclass
class PredictArguments:
    """What to predict, and where to write it."""

    prompt: str | None = HfArg(default=None, help="One input on the command line; columns with tabs between.")
    input_file: str | None = HfArg(default=None, help="csv, tsv, xlsx, json, jsonl, txt or parquet; a glob, or a folder.")
    output_file: str | None = HfArg(default=None, help="Where to write; standard output by default.")
    output_format: Literal["auto", "jsonl", "csv", "tsv", "text"] = HfArg(
        default="auto", help="text: one prediction a line. auto: by the name of the file; text on a terminal, else jsonl."
    )
    column_map: str | None = HfArg(default=None, help="Our column names to yours: document=body.")
    task: str | None = HfArg(default=None, help="The task, for a model of several or without a task.json.")
    top_labels: int | None = HfArg(default=None, help="Labels: show the N most probable with their probabilities.")
    num_return_sequences: int = HfArg(default=1, help="Several texts for each input; use --do_sample.")
    max_length: int | None = HfArg(default=None, help="Tokens of a whole sequence; the run's by default.")
    batch_size: int | None = HfArg(default=None, help="Rows at a time; by default as many as are fast and fit into memory.")
    seed: int = HfArg(default=42, help="Seed of sampling.")

    def __post_init__(self) -> None:
        """Raises UserError on flags that do not go together, and where several processes would read one standard input."""
        if self.prompt is None and self.input_file is None and world_size() > 1:
            raise UserError("several processes cannot share standard input; give --input_file")
        at_least(self, 1, "num_return_sequences", "batch_size", "top_labels")
        if self.prompt is not None and self.input_file:
            raise UserError("--prompt and --input_file cannot go together; leave one out")
        if self.output_file and (Path(self.output_file).is_dir() or not Path(self.output_file).parent.is_dir()):
            raise UserError(f"--output_file {self.output_file}: name a file in a folder that exists")
        suffix = Path(self.output_file or "").suffix.lower()
        if self.output_format == "auto":
            if suffix in (".xlsx", ".xls", ".ods", ".parquet"):
                raise UserError(f"--output_file {self.output_file}: {suffix} is not written here; name a .csv or .jsonl")
            formats = {".txt": "text", ".csv": "csv", ".tsv": "tsv"}
            on_terminal = not self.output_file and sys.stdout.isatty()
            self.output_format = "text" if on_terminal else formats.get(suffix, "jsonl")


def keep_inputs(args: PredictArguments) -> None:
    """Raises UserError where the output would replace what is read."""
    from tasks.reading.files import find_files

    if not args.output_file or not Path(args.output_file).is_file():
        return
    inputs = find_files(args.input_file) if args.input_file else ["/dev/stdin"] * (args.prompt is None)
    if any(Path(name).exists() and Path(name).samefile(args.output_file) for name in inputs):
        raise UserError(f"--output_file {args.output_file} is read from, too; name another file, or the rows are lost")


def answer_typed(predictor: Predictor, args: PredictArguments) -> None:
    """Answer what is typed, row by row, until an empty line."""
    from tasks.inference import inputs

    task = predictor.task
    inputs.greet(task)
    while True:
        try:
            if (row := inputs.typed_row(task)) is None:
                return
            rows = inputs.read_inputs(task, [row], inputs.TYPED, args.column_map)
            for prediction in predictor.answer(inputs.input_examples(task, rows))[0]:
                on_screen = sys.stdout.isatty()
                print(inputs.as_line(task, prediction, args.top_labels or 3) if on_screen else prediction.text)
        except UserError as error:  # one line that does not fit is no reason to load the model again
            print(f"error: {error}", file=sys.stderr)


def main() -> None:
    """Load the model, read the rows, answer them, write the answers."""
    types = (PredictArguments, GenerationArguments, ModelArguments)
    args, generation_args, model_args, folder = parse_dataclasses(types, __doc__, positional="model_folder")

    # Slow to import, so --help and mistakes in the flags are answered first.
    from tasks.inference import inputs, load
    from tasks.inference.chatting import converse
    from tasks.inference.predicting import trained_task
    from tasks.reading.files import read_rows
    from tasks.run_folder import write_lines

    keep_inputs(args)
    model_args = replace(model_args, model=folder)
    task, _ = trained_task(model_args, args.task)
    if args.top_labels and task.output_type != "multiple_choice":
        raise UserError(f"--top_labels: {task.name} writes text, not labels; leave it out")
    typed = args.prompt is None and not args.input_file and sys.stdin.isatty()
    if not typed:  # read whole before the model is loaded, so that a bad row costs nothing
        if args.input_file:
            origin, rows = args.input_file, read_rows(args.input_file)
        else:
            origin, lines = ("--prompt", [args.prompt]) if args.prompt is not None else ("standard input", sys.stdin)
            rows = inputs.rows_of_lines(task, lines, origin)
        rows = inputs.read_inputs(task, rows, origin, args.column_map)
        examples = inputs.input_examples(task, rows)

    predictor = load(
        **vars(model_args),
        **vars(generation_args),
        task=args.task,
        max_length=args.max_length,
        batch_size=args.batch_size,
        seed=args.seed,
        num_return_sequences=args.num_return_sequences,
    ).predictor
    if typed:
        return converse(predictor) if task.conversational else answer_typed(predictor, args)

    answers = predictor.answer(examples)
    if not is_first():
        return
    lines = inputs.as_lines(task, rows, answers, args.output_format, args.top_labels)
    if args.output_file:
        write_lines(args.output_file, lines)
    else:
        sys.stdout.writelines(lines)


if __name__ == "__main__":
    main()
