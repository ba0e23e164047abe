"""Publishing as a part of a run: what would be refused is found before training, and rank 0 alone talks to the Hub."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.base import Task
from tasks.errors import UserError

if TYPE_CHECKING:
    from tasks.publishing.hub import Destination
    from tasks.publishing.report import RunReport
    from tasks.training.arguments import PublishArguments, TrainingArguments
    from tasks.training.data_arguments import DataArguments
    from tasks.training.trainer import CompletionTrainer


def preflight_run(
    task: Task, model_args: Any, data_args: DataArguments, training_args: TrainingArguments, publish_args: PublishArguments
) -> None:
    """With ``--push_to_hub``: ask for licence, login, the right to write, and disk, before anything is trained.

    Only the first process asks. Where it stops, torchrun stops the others.

    Raises:
        UserError: what would have failed at the end.
    """
    if not publish_args.push_to_hub or int(os.environ.get("RANK", "0")) != 0:
        return
    if not (training_args.do_train and training_args.do_eval):
        raise UserError(
            "--push_to_hub publishes a model that was trained and measured: leave --no_do_train, --no_do_eval out"
        )
    from tasks.publishing.card import license_for
    from tasks.publishing.facts import adapter_base, base_of, data_license
    from tasks.publishing.hub import Hub
    from tasks.training.modeling import weight_files

    base = base_of(model_args, publish_args)
    license_for(base, data_license(task, data_args), publish_args)
    if getattr(model_args, "lora_r", None) is None:
        _check_disk([] if base.from_scratch else weight_files(model_args.model, model_args.model_revision), training_args)
    elif not model_args.merge_adapter:  # an adapter takes little room
        adapter_base(base)
    try:
        # Two more tries: who has just started a run would rather know than wait for four minutes.
        Hub(pauses=(1.0, 2.0)).preflight(_destination(training_args, publish_args, task.name), task.name)
    except UserError as error:
        raise UserError(str(error).replace("--repo_id", "--hub_model_id")) from None


def publish_run(trainer: CompletionTrainer, report: RunReport, publish_args: PublishArguments) -> None:
    """Write run_report.json and the card of a run that was trained, and publish it where ``--push_to_hub`` asks for it.

    The other processes return at once. None of them waits for the upload, so that none can run into a time-out.

    Raises:
        UserError: the Hub refuses; ``resume`` is the command that goes on.
    """
    if not trainer.args.do_train or not trainer.is_world_process_zero():
        return
    from tasks.publishing.release import Release, headline, publish, write_card
    from tasks.publishing.report import RunReport
    from tasks.training.output_folder import end_run

    folder = Path(trainer.args.output_dir)
    report.save(folder)
    write_card(folder, publish_args)
    end_run(folder)
    if publish_args.push_to_hub:
        report = RunReport.load(folder)
        publish(Release(folder, report, publish_args), _destination(trainer.args, publish_args, headline(report)))


def _destination(training_args: TrainingArguments, publish_args: PublishArguments, message: str) -> Destination:
    from tasks.publishing.hub import Destination

    return Destination(
        repo_id=publish_args.repo_id or Path(training_args.output_dir).resolve().name,
        public=publish_args.hub_public,
        revision=publish_args.revision,
        message=message,
    )


def _check_disk(weights: Sequence[Path], training_args: TrainingArguments) -> None:
    """Whether checkpoints, the model and what is sent fit on the disk, as far as the files of the base are here already.

    A checkpoint holds the weights and AdamW's two moments of each; one more than ``save_total_limit`` exists for a moment.
    """
    kept = 0 if training_args.save_strategy == "no" else (training_args.save_total_limit or training_args.num_train_epochs)
    needed = int(sum(path.stat().st_size for path in weights) * (2 + 3 * (kept + 1 if kept else 0)))
    place = Path(training_args.output_dir).resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise UserError(
            f"{training_args.output_dir}: {free / 2**30:.1f} GiB are free, and checkpoints and model need about "
            f"{needed / 2**30:.1f} GiB; free some, choose another --output_dir, or lower --save_total_limit"
        )
