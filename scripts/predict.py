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
from typing import Literal

from transformers.hf_argparser import HfArg

from tasks.arguments.checks import at_least
from tasks.arguments.command_line import parse_dataclasses
from tasks.arguments.generation import GenerationArguments
from tasks.arguments.model import ModelArguments
from tasks.distributed import is_first, world_size
from tasks.errors import UserError


@dataclass
class PredictArguments:
    """What to predict, and where to write it."""

    prompt: str | None = HfArg(default=None, help="One input on the command line; columns with tabs between.")
    input_file: str | None = HfArg(default=None, help="csv, tsv, xlsx, json, jsonl, txt or parquet; a glob, or a folder.")
    output_file: str | None = HfArg(default=None, help="Where to write; standard output by default.")
    output_format: Literal["auto", "jsonl", "text"] = HfArg(
        default="auto", help="jsonl, or text: one prediction a line. auto: text for .txt and terminals."
    )
    column_map: str | None = HfArg(default=None, help="Our column names to yours: document=body.")
    task: str | None = HfArg(default=None, help="The task, for a model without a task.json.")
    num_return_sequences: int = HfArg(default=1, help="Several texts for each input; use --do_sample.")
    max_length: int | None = HfArg(default=None, help="Tokens of a whole sequence; the run's by default.")
    batch_size: int | None = HfArg(default=None, help="Rows at a time; as many as memory allows by default.")
    seed: int = HfArg(default=42, help="Seed of sampling.")

    def __post_init__(self) -> None:
        """Raises UserError on flags that do not go together, and where several processes would read one standard input."""
        if self.prompt is None and self.input_file is None and world_size() > 1:
            raise UserError("several processes cannot share standard input; give --input_file")
        at_least(self, 1, "num_return_sequences", "batch_size")
        if self.prompt is not None and self.input_file:
            raise UserError("--prompt and --input_file cannot go together; leave one out")
        if self.output_file and (Path(self.output_file).is_dir() or not Path(self.output_file).parent.is_dir()):
            raise UserError(f"--output_file {self.output_file}: name a file in a folder that exists")

    def wants_text(self) -> bool:
        """Whether plain text is to be written: as asked, else for a .txt file and a terminal."""
        suited = self.output_file.endswith(".txt") if self.output_file else sys.stdout.isatty()
        return suited if self.output_format == "auto" else self.output_format == "text"


def main() -> None:
    """Load the model, read the rows, answer them, write the answers."""
    types = (PredictArguments, GenerationArguments, ModelArguments)
    args, generation_args, model_args, folder = parse_dataclasses(types, __doc__, positional="model_folder")

    # Slow to import, so --help and mistakes in the flags are answered first.
    from tasks.inference.chatting import converse
    from tasks.inference.inputs import as_json, input_examples, read_inputs, rows_of_lines, typed_rows
    from tasks.inference.predicting import load_predictor
    from tasks.reading.files import read_rows
    from tasks.run_folder import write_lines

    predictor = load_predictor(
        replace(model_args, model=folder),
        generation_args,
        task_name=args.task,
        max_length=args.max_length,
        batch_size=args.batch_size,
        seed=args.seed,
        num_return_sequences=args.num_return_sequences,
    )
    task = predictor.task
    if args.prompt is None and not args.input_file and sys.stdin.isatty():
        if task.conversational:
            return converse(predictor)
        for row in typed_rows(task):
            try:
                for prediction in predictor.answer(input_examples(task, [row]))[0]:
                    print(prediction.text)
            except UserError as error:  # one line that does not fit is no reason to load the model again
                print(f"error: {error}", file=sys.stderr)
        return

    # Read whole before the first answer, so that a bad row costs nothing.
    if args.input_file:
        origin, rows = args.input_file, read_rows(args.input_file)
    else:
        origin, lines = ("--prompt", [args.prompt]) if args.prompt is not None else ("standard input", sys.stdin)
        rows = rows_of_lines(task, lines, origin)
    rows = read_inputs(task, rows, origin, args.column_map)
    answers = predictor.answer(input_examples(task, rows))
    if not is_first():
        return
    if args.wants_text():  # one line a prediction, whatever line breaks it holds
        lines = [" ".join(prediction.text.split()) + "\n" for predictions in answers for prediction in predictions]
    else:
        lines = [as_json(task, row, predictions) + "\n" for row, predictions in zip(rows, answers)]
    if args.output_file:
        write_lines(args.output_file, lines)
    else:
        sys.stdout.writelines(lines)


if __name__ == "__main__":
    main()
