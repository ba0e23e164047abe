"""Publishing as a part of a run: what would be refused is found before training, and rank 0 alone talks to the Hub."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.base import Task
from tasks.errors import UserError
from tasks.model.loading import weight_files
from tasks.model.model_files import ADAPTER_CONFIG
from tasks.publishing.card import license_for
from tasks.publishing.facts import adapter_base, base_of, data_license
from tasks.publishing.hub import Destination, Hub
from tasks.publishing.release import Release, headline, publish, write_card
from tasks.training.output_folder import end_run

if TYPE_CHECKING:
    from tasks.arguments.command_line import RunArguments
    from tasks.arguments.training import TrainingArguments
    from tasks.publishing.report import RunReport
    from tasks.training.trainer import CompletionTrainer


def preflight(task: Task, args: RunArguments) -> None:
    """With ``--push_to_hub``: ask for licence, login, the right to write, and disk, before anything is trained.

    Only the first process asks. Where it stops, torchrun stops the others.

    Raises:
        UserError: what would have failed at the end.
    """
    if not args.training.publish or int(os.environ.get("RANK", "0")) != 0:
        return
    if not (args.training.do_train and args.training.do_eval):
        raise UserError(
            "--push_to_hub publishes a model that was trained and measured: leave --no_do_train, --no_do_eval out"
        )
    base = base_of(args.model, args.publishing)
    license_for(base, data_license(task, args.data), args.publishing)
    if getattr(args.model, "lora_r", None) is None:
        files = [] if base.from_scratch else weight_files(args.model.model, args.model.model_revision)
        _check_disk(files, args.training)
    elif not args.model.merge_adapter:  # an adapter takes little room
        adapter_base(base)
    try:
        # Two more tries: who has just started a run would rather know than wait for four minutes.
        Hub(pauses=(1.0, 2.0)).preflight(_destination(args, task.name), task.name)
    except UserError as error:
        raise UserError(str(error).replace("--repo_id", "--hub_model_id")) from None


def publish_run(trainer: CompletionTrainer, report: RunReport, results: dict[str, Any], args: RunArguments) -> None:
    """Write run_report.json and the card of a run that was trained, and publish it where ``--push_to_hub`` asks for it.

    The other processes return at once. None of them waits for the upload, so that none can run into a time-out.

    Raises:
        UserError: the Hub refuses; ``resume`` is the command that publishes later.
    """
    if not args.training.do_train or not trainer.is_world_process_zero():
        return
    folder = Path(args.training.output_dir)
    report.results, report.log = results, trainer.state.log_history
    report.adapter = (folder / ADAPTER_CONFIG).is_file()
    report.save(folder)
    write_card(folder, report, args.publishing)
    end_run(folder)
    if args.training.publish:
        publish(Release(folder, report, args.publishing), _destination(args, headline(report)))


def _destination(args: RunArguments, message: str) -> Destination:
    return Destination(
        repo_id=args.training.hub_model_id or Path(args.training.output_dir).resolve().name,
        public=args.publishing.hub_public,
        revision=args.training.hub_revision,
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
