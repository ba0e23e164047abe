"""Publishing as part of a run: checks before it starts, the facts it records, card and upload when it ends."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from tasks import machine
from tasks.base import Task
from tasks.distributed import is_first
from tasks.errors import UserError
from tasks.model.model_files import ADAPTER_CONFIG
from tasks.publishing import facts
from tasks.publishing.card import parse_template, render_card
from tasks.publishing.hub import Destination, Hub
from tasks.publishing.license import license_for
from tasks.publishing.lint import lint_card
from tasks.publishing.release import Release, headline, publish, resume_command, write_card
from tasks.publishing.report import RunReport
from tasks.run_folder import RunConfig, RunConfigs
from tasks.training.output_folder import end_run, read_run
from tasks.training.plots import plot_loss

if TYPE_CHECKING:
    from tasks.arguments.command_line import RunArguments
    from tasks.arguments.training import TrainingArguments
    from tasks.preparing.encoding import Encoder
    from tasks.preparing.mixture import MixtureData
    from tasks.preparing.run_data import RunData
    from tasks.training.trainer import CompletionTrainer

logger = logging.getLogger(__name__)

#: Arguments that say where and how a run is watched, not how the model is trained.
NOT_SHOWN = (
    "output_dir", "run_name", "project", "trackio", "hub_", "push_to_hub", "report_to", "log", "disable_tqdm", "do_",
    "resume_from_checkpoint", "overwrite_output_dir", "local_rank", "include_", "debug", "deepspeed", "fsdp_config",
    "accelerator_config", "use_cpu", "dataloader_", "ddp_", "greater_is_better", "remove_unused_columns", "label_names",
    "save_", "restore_", "skip_memory", "eval_on_start",
)  # fmt: skip


def preflight(task: Task, args: RunArguments) -> None:
    """With ``--push_to_hub``, check licence, login and write access before training.

    Only the first process checks. If it stops, torchrun stops the others.

    Raises:
        UserError: what would have failed at the end.
    """
    if not args.training.publish or int(os.environ.get("RANK", "0")) != 0:
        return
    if not (args.training.do_train and args.training.do_eval):
        raise UserError(
            "--push_to_hub publishes a model that was trained and measured: leave --no_do_train, --no_do_eval out"
        )
    folder = Path(args.training.output_dir)
    run = read_run(folder)
    if run.get("finished") and run["settings"] == args.settings and _is_unsent(run, args.training):
        release = Release(folder, RunReport.load(folder), args.publishing)
        command = resume_command(release, _destination(args, headline(release.report)))
        raise UserError(f"the run in {folder} is finished, and what is left is to publish it; the last line does", command)
    base = facts.base_of(args.model, args.publishing)
    for part, own in zip(task.parts, args.data.of_parts(task)):
        license_for(base, facts.data_license(part, own), args.publishing)
    if getattr(args.model, "lora_r", None) is not None and not args.model.merge_adapter:
        facts.adapter_base(base)
    try:
        # Fewer retries than at the end: the user has just started the run and is waiting.
        Hub(pauses=(1.0, 2.0)).preflight(_destination(args, task.name), task.name)
    except UserError as error:
        raise UserError(str(error).replace("--repo_id", "--hub_model_id")) from None


def _is_unsent(run: dict[str, Any], args: TrainingArguments) -> bool:
    """Whether the upload alone is left of a finished run; a resumed one is measured and published anew."""
    return not args.resume_from_checkpoint and (run.get("publishing", False) or not args.overwrite_output_dir)


class RunRecorder(TrainerCallback):
    """Records what a run starts with in a RunReport; ``publish_run`` adds results and log."""

    def __init__(self, args: RunArguments, encoder: Encoder, data: RunData | MixtureData) -> None:
        self.model_args, self.plan = args.model, args.plan
        base_model, of_data = args.model.base_model, [facts.data_facts(p.task, p.data_args, p.source) for p in data.parts]
        runs = [RunConfig.of(p.task, base_model, p.data_args.column_map, e) for p, e in zip(data.parts, encoder.of_parts)]
        self.private = [word for part in data.parts for word in getattr(part.source, "private", ())]
        self.report = RunReport(
            config=RunConfigs.of(runs),
            base=facts.base_of(args.model, args.publishing),
            data=of_data if len(of_data) > 1 else of_data[0],
            versions=machine.versions(),
            git_commit=facts.git_commit(),
            choices=args.publishing.choices(),
        )
        base = self.report.base
        base.revision = encoder.revision  # the commit that was read; None for a folder
        if base.copy and args.training.do_train:
            logger.warning(
                "%s is taken for a copy of %s by its config or vocabulary; if it is another model, say what it comes of by "
                "base_model in its README.md",
                base.copy,
                base.hub_id,
            )
        if args.training.publish and is_first():
            self._check_card(args)

    def _check_card(self, args: RunArguments) -> None:
        """Raises UserError where the card would be refused at the end for what is known by now."""
        folder, name = Path(args.training.output_dir), _destination(args, "").repo_id
        if args.publishing.card_template:  # whether what it shows is there, only a finished run can tell
            return parse_template(Path(args.publishing.card_template))
        card = render_card(self.report, folder, dataclasses.replace(args.publishing, card_examples=None), name)
        for finding in lint_card(card, repo_id=name):
            raise UserError(f"the card is not fit to be published: {finding}; nothing was trained")

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Note arguments, model and machine."""
        tokenizer, model = kwargs["processing_class"], kwargs["model"]
        own = {f.name: f.default for f in dataclasses.fields(self.model_args) if f.name not in ("model", "model_revision")}
        report = self.report
        report.arguments = shown_arguments(args) | {name: getattr(self.model_args, name) for name in own}
        # Not from a second TrainingArguments: creating one resets the state of accelerate.
        report.defaults = {f.name: f.default for f in dataclasses.fields(args) if f.name in report.arguments} | own
        report.parameters = model.num_parameters()
        if getattr(self.model_args, "lora_r", None) is not None:
            report.adapter_parameters = model.num_parameters(only_trainable=True)
            report.parameters -= report.adapter_parameters
        report.model_type = model.config.model_type
        normalizer = tokenizer.backend_tokenizer.normalizer
        report.changes_letters = bool(normalizer) and normalizer.normalize_str("ㅋ") != "ㅋ"
        report.adds_bos = tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]
        report.hardware = machine.hardware(args.device, args.world_size)
        report.command = facts.command(sys.argv, args.world_size, self.private)
        if self.plan:  # on another machine the same hours would be another model
            flags = " ".join(f"--{name} {value}" for name, value in self.plan.items())
            report.command = re.sub(r"--(budget_hours|tokens)[ =]\S+", flags, report.command)
        report.resumed = state.global_step > 0


def shown_arguments(args: TrainingArguments) -> dict[str, Any]:
    """The arguments that decide what is learned, as plain values without folders."""
    return {
        name: facts.public(value) if isinstance(value, str) else value
        for name, value in args.to_dict().items()
        if not name.startswith(NOT_SHOWN)
    }


def publish_run(trainer: CompletionTrainer, report: RunReport, results: dict[str, Any], args: RunArguments) -> None:
    """Write run_report.json and the card of a run that was trained, and publish it with ``--push_to_hub``.

    Other processes return at once and do not wait for the upload, which would time out.

    Raises:
        UserError: the Hub refuses; its ``resume`` is the command that publishes later.
    """
    if not args.training.do_train or not trainer.is_world_process_zero():
        return
    folder = Path(args.training.output_dir)
    report.config, report.results, report.log = trainer.run_config, results, trainer.state.log_history
    report.adapter = (folder / ADAPTER_CONFIG).is_file()
    report.save(folder)
    if args.publishing.card_language == "ko":
        plot_loss(report.log, folder / "loss.png", "ko")
    write_card(folder, report, args.publishing)
    end_run(folder, publishing=args.training.publish)
    if args.training.publish:
        publish(Release(folder, report, args.publishing), _destination(args, headline(report)))
        end_run(folder)


def _destination(args: RunArguments, message: str) -> Destination:
    return Destination(
        repo_id=args.training.hub_model_id or Path(args.training.output_dir).resolve().name,
        public=args.publishing.hub_public,
        revision=args.training.hub_revision,
        message=message,
    )
