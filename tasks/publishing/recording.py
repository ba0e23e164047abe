"""The callback that fills a RunReport while a run goes on."""

from __future__ import annotations

import dataclasses
import logging
import sys
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from tasks.base import Task
from tasks.publishing import facts
from tasks.publishing.report import RunReport
from tasks.run_folder import RunConfig

if TYPE_CHECKING:
    from tasks.arguments.command_line import RunArguments
    from tasks.arguments.training import TrainingArguments
    from tasks.preparing.encoding import Encoder
    from tasks.reading.sources import DataSource

logger = logging.getLogger(__name__)

#: Arguments that say where and how a run is watched, not how the model is trained.
NOT_SHOWN = (
    "output_dir", "run_name", "project", "trackio", "hub_", "push_to_hub", "report_to", "log", "disable_tqdm", "do_",
    "resume_from_checkpoint", "overwrite_output_dir", "local_rank", "include_", "debug", "deepspeed", "fsdp_config",
    "accelerator_config", "use_cpu", "dataloader_", "ddp_", "greater_is_better", "remove_unused_columns", "label_names",
    "save_", "restore_", "skip_memory",
)  # fmt: skip


class RunRecorder(TrainerCallback):
    """Notes what a run begins with. The results, task.json and the log join it from the folder, in ``RunReport.load``."""

    def __init__(self, task: Task, args: RunArguments, encoder: Encoder, source: DataSource) -> None:
        """``source`` is where the rows come from, ``RunData.source``."""
        self.model_args = args.model
        self.report = RunReport(
            config=RunConfig.of(task, args.model.base_model, args.data.column_map, encoder),
            base=facts.base_of(args.model, args.publishing),
            data=facts.data_facts(task, args.data, source),
            versions=facts.versions(),
            git_commit=facts.git_commit(),
            choices=args.publishing.choices(),
        )
        self.report.base.revision = encoder.revision  # the commit that was read; None for a folder

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Note arguments, model and machine."""
        tokenizer, model = kwargs["processing_class"], kwargs["model"]
        own = {f.name: f.default for f in dataclasses.fields(self.model_args) if f.name not in ("model", "model_revision")}
        report = self.report
        if report.base.copy and state.is_world_process_zero:
            logger.warning(
                "%s is taken for a copy of %s by its config or vocabulary; if it is another model, name it by --base_model",
                report.base.copy,
                report.base.hub_id,
            )
        report.arguments = shown_arguments(args) | {name: getattr(self.model_args, name) for name in own}
        # Not from a second TrainingArguments: making one resets the state of accelerate under the Trainer's feet.
        report.defaults = {f.name: f.default for f in dataclasses.fields(args) if f.name in report.arguments} | own
        report.parameters = model.num_parameters()
        if getattr(self.model_args, "lora_r", None) is not None:
            report.adapter_parameters = model.num_parameters(only_trainable=True)
            report.parameters -= report.adapter_parameters
        report.model_type = model.config.model_type
        report.adds_bos = tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]
        report.hardware = facts.hardware(args.device, args.world_size)
        report.command = facts.command(sys.argv, args.world_size)
        report.resumed = state.global_step > 0


def shown_arguments(args: TrainingArguments) -> dict[str, Any]:
    """The arguments that decide what is learned, as plain values without folders."""
    return {
        name: facts.public(value) if isinstance(value, str) else value
        for name, value in args.to_dict().items()
        if not name.startswith(NOT_SHOWN)
    }
