"""A small, fast copy of a finished run for a processor (CTranslate2), measured beside the original.

python scripts/export.py outputs/nli-kogpt2-base-v2 --quantization int8
python scripts/export.py outputs/summarize-kogpt2-base-v2 --validation_file news.jsonl --max_eval_samples 100
python scripts/predict.py outputs/nli-kogpt2-base-v2-int8
"""

from __future__ import annotations

from tasks.errors import handle_errors

handle_errors(__name__)  # from here on a mistake, or Ctrl-C, ends in one line

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from transformers.hf_argparser import HfArg

from tasks.arguments.checks import at_least
from tasks.arguments.command_line import parse_dataclasses
from tasks.arguments.data import DataArguments
from tasks.arguments.generation import GenerationArguments
from tasks.arguments.model import ModelArguments
from tasks.errors import UserError

#: Rows that both models are measured on, if not said otherwise.
ROWS = 200


@dataclass
class ExportArguments:
    """What to write, and how it is measured."""

    format: Literal["ctranslate2", "gguf"] = HfArg(default="ctranslate2", help="gguf says why it is not written.")
    quantization: Literal["int8", "float32"] = HfArg(default="int8", help="Type of the weights in the copy.")
    output_dir: str | None = HfArg(default=None, help="Default: the run's folder with the quantization at its end.")
    task: str | None = HfArg(default=None, help="The task to measure by, for a run of several.")
    measure: bool = HfArg(default=True, help="Measure the copy beside the original.")
    batch_size: int = HfArg(default=1, help="Rows at a time while measuring; 1 is one person at a terminal.")

    def __post_init__(self) -> None:
        """Raises UserError for gguf."""
        at_least(self, 1, "batch_size")
        if self.format == "gguf":
            raise UserError(
                "--format gguf is not written: llama.cpp splits text by rules of its own, which gave the same tokens as "
                "KoGPT2's tokenizer for 5 of 7 Korean texts, so the copy would misread the others; take --format ctranslate2"
            )


def run_folder(folder: str) -> Path:
    """The run to copy. Raises UserError where it is none."""
    from tasks.run_folder import TASK_FILE, is_export

    run = Path(folder)
    if not run.is_dir():
        raise UserError(f"{folder}: no such folder; a run on the Hub has to be here: hf download {folder} --local-dir run")
    if not (run / TASK_FILE).is_file():
        raise UserError(f"{folder}: no {TASK_FILE} there; name the folder of a finished run")
    if is_export(run):
        raise UserError(f"{folder} is a copy already; name the run that it was made of")
    return run


def data_of(run: Path, data_args: DataArguments) -> tuple[DataArguments, int]:
    """The data to measure on, those of the run where none are given, and the seed that splits them."""
    from tasks.training.output_folder import read_run

    settings = read_run(run).get("settings", {})
    if not (data_args.dataset or data_args.train_file or data_args.validation_file or data_args.sample_data):
        theirs = {flag.name: settings[flag.name] for flag in fields(DataArguments) if flag.name in settings}
        given = {name: value for name, value in vars(data_args).items() if value != getattr(DataArguments(), name)}
        data_args = DataArguments(**(theirs | given))
    return replace(data_args, max_eval_samples=data_args.max_eval_samples or ROWS), settings.get("seed", 42)


def main() -> None:
    """Load the run, write the copy, measure both."""
    types = (ExportArguments, DataArguments, GenerationArguments, ModelArguments)
    args, data_args, generation_args, model_args, folder = parse_dataclasses(types, __doc__, positional="run")

    # Slow to import, so --help and mistakes in the flags are answered first.
    from tasks.inference.comparing import as_table, side_by_side
    from tasks.inference.exported import ENGINE, engine, export
    from tasks.inference.predicting import load_predictor, trained_task
    from tasks.machine import hardware
    from tasks.preparing.splits import load_examples
    from tasks.run_folder import EXPORT_FILE, is_export, make_writable, refuse_links, write_json

    engine()
    run = run_folder(folder)
    output = Path(args.output_dir or run.with_name(f"{run.resolve().name}-{args.quantization}"))
    refuse_links(output)
    if output.exists() and not is_export(output) and any(output.iterdir()):
        raise UserError(f"--output_dir {output} holds other files; choose another folder")
    make_writable(output)
    examples = []
    if args.measure:  # read before the model is loaded, so that a bad row costs nothing
        data_args, seed = data_of(run, data_args)
        task, _ = trained_task(replace(model_args, model=folder), args.task)
        examples = load_examples(task, data_args, seed=seed, splits=("validation",))[0]["validation"]

    def loaded(place: Path) -> Any:
        arguments = replace(model_args, model=str(place))
        more = {"task_name": args.task, "max_length": data_args.max_length, "batch_size": args.batch_size}
        return load_predictor(arguments, generation_args, **more)

    original = loaded(run)
    about = export(original.model, original.encoder.tokenizer, run, output, args.quantization)
    if examples:
        original.model.to("cpu")  # where the copy runs
        figures = side_by_side({"original": original, args.quantization: loaded(output)}, examples)
        figures["original"]["megabytes"] = original.model.get_memory_footprint() / 1e6
        figures[args.quantization]["megabytes"] = (output / ENGINE / "model.bin").stat().st_size / 1e6
        machine = hardware(original.model.device, 1)
        print(as_table(original.task.main_metric, figures))
        print(
            f"{len(examples)} validation rows, {args.batch_size} at a time; {machine['processor']}, {machine['cores']} cores"
        )
        about["measured"] = {"rows": len(examples), "batch_size": args.batch_size, "machine": machine, "models": figures}
        write_json(output / EXPORT_FILE, about)
    print(f"predict.py and evaluate_model.py take {output}")


if __name__ == "__main__":
    main()
