"""A trained model, from its folder or the Hub, ready to answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks import get_task, task_of
from tasks.distributed import processes
from tasks.errors import UserError
from tasks.inference.predicting import Predictor
from tasks.model.loading import at_commit, load_config
from tasks.model.model_files import find_file
from tasks.model.opening import open_encoder, open_model
from tasks.model.speedups import fuse_gelu
from tasks.run_folder import TASK_FILE, RunConfig

if TYPE_CHECKING:
    from tasks.arguments.generation import GenerationArguments
    from tasks.arguments.model import ModelArguments


def load_predictor(
    model_args: ModelArguments,
    generation_args: GenerationArguments,
    *,
    task_name: str | None = None,
    max_length: int | None = None,
    batch_size: int | None = None,
    seed: int = 42,
    num_return_sequences: int = 1,
) -> Predictor:
    """The model with its tokenizer, its task and the settings it was measured with, on the best device of this process.

    The task is the one of its task.json unless ``task_name`` says otherwise; a model without a task.json, such as a base
    model, needs it, and gets the task's separators untrained.

    Raises:
        UserError: the model cannot be loaded, names no task, or was made for another version of its task's prompt; several
            texts for one input would all be the same.
    """
    device = processes().device
    model_args = at_commit(model_args)
    load_config(model_args)  # what is no model is said first
    path = find_file(model_args.model, TASK_FILE, model_args.model_revision)
    run = RunConfig.load(path.parent) if path else None
    if run is None and task_name is None:
        raise UserError(f"{model_args.model}: no task.json there, so its task is not known; name it with --task")
    if run and task_name not in (None, run.task):
        run = None  # its lengths and settings belong to the other task
    task = task_of(run) if run else get_task(task_name)
    if run and run.task_version != task.version:
        raise UserError(
            f"{model_args.model}: made for version {run.task_version} of the {task.name} prompt, and this is version "
            f"{task.version}; use the release of this project that made it, or train it again"
        )
    length = max_length or (run.max_length if run else None)
    encoder = open_encoder(task, model_args, generation_args, length, run.generation if run else None)
    settings = encoder.settings | {"num_return_sequences": num_return_sequences}
    if num_return_sequences > 1 and not settings["do_sample"] and settings["num_beams"] < num_return_sequences:
        raise UserError("several texts for one input differ only when sampled or by beams; add --do_sample")
    model = open_model(task, model_args, encoder)
    fuse_gelu(model)  # as in training: a run and its evaluation are to say the same
    return Predictor(task, model.to(device), encoder, settings, batch_size, seed, batch_flag="--batch_size")
