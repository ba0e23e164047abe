"""The part of the Trainer that keeps a run's work: whole checkpoints, and runs that go on as if never interrupted."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from torch.utils.data import RandomSampler, Sampler
from transformers import EarlyStoppingCallback, Trainer
from transformers.trainer_pt_utils import LengthGroupedSampler

from tasks.errors import UserError, write_failure
from tasks.run_folder import write_json
from tasks.training.batches import EpochSampler
from tasks.training.checkpoints import discard, find_checkpoints, fingerprint, rotate, seal
from tasks.training.interruption import SaveAfterEvaluation, StopOnSignal
from tasks.training.output_folder import check_rows

#: What was summed up since the last line of the log, which transformers does not save.
SUMS_FILE = "sums.json"


class ResumableTrainer(Trainer):
    """``Trainer`` whose checkpoints are sealed (see checkpoints.py) and whose runs, resumed, end as if never interrupted.

    What the plain Trainer does not bring back, and this one does: the order of ``group_by_length``, the patience of early
    stopping, a run that ended at its last checkpoint (the plain one takes another step), the best checkpoint of a folder
    that was moved, and the mean loss of the whole run.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sampler: EpochSampler | None = None
        self.resumed_from: str | None = None
        self._ended = False  # the checkpoint that was resumed from is the one that training ended at
        self._sums: dict[str, float] = {}
        self._started = time.monotonic()
        self._signals = StopOnSignal(self.accelerator)
        self.add_callback(self._signals)
        self.add_callback(SaveAfterEvaluation())

    def train(self, resume_from_checkpoint: str | None = None, *args: Any, **kwargs: Any) -> Any:
        """As the parent's. Raises UserError where the checkpoint does not belong to these rows."""
        self.resumed_from = resume_from_checkpoint
        self._rows = fingerprint(self.train_dataset, self.eval_dataset)
        check_rows(resume_from_checkpoint, self._rows, named=self.args.resume_from_checkpoint is not None)
        self._started = time.monotonic()
        try:
            return super().train(resume_from_checkpoint, *args, **kwargs)
        finally:
            self._signals.give_back()  # where training ended by an error, too

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        sampler = super()._get_train_sampler(train_dataset)
        if isinstance(sampler, (RandomSampler, LengthGroupedSampler)):
            seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
            sampler = self._sampler = EpochSampler(sampler, seed)
        return sampler

    def _init_training_state(self, max_steps: int, *args: Any) -> tuple[int, int]:
        begun = super()._init_training_state(max_steps, *args)
        self._ended, self._sums = False, {}
        if self.resumed_from is None:
            return begun
        stoppers = [each for each in self.callback_handler.callbacks if isinstance(each, EarlyStoppingCallback)]
        for stopper in stoppers:  # restored with the patience that it had; the command line's counts
            stopper.early_stopping_patience = self.args.early_stopping_patience
        self._ended = self.state.global_step >= max_steps or any(
            stopper.early_stopping_patience_counter >= stopper.early_stopping_patience for stopper in stoppers
        )
        if self.state.best_global_step:
            best = Path(self.resumed_from).parent / f"checkpoint-{self.state.best_global_step}"
            self.state.best_model_checkpoint = str(best) if best.is_dir() else None
        sums = Path(self.resumed_from) / SUMS_FILE
        self._sums = json.loads(sums.read_text("utf-8")) if sums.is_file() else {}
        return begun

    def _run_epoch(self, **kwargs: Any) -> None:
        if self._ended:
            return
        self._restore_sums()
        if self._sampler is not None:
            self._sampler.set_epoch(kwargs["epoch"])
        super()._run_epoch(**kwargs)

    def _restore_sums(self) -> None:
        """Go on summing the loss where the checkpoint was written; once, after the parent has set its sums to nothing."""
        sums, self._sums = self._sums, {}
        if sums:
            self._tr_loss += sums["loss_since_log"]
            self._total_loss_scalar = sums["loss"]
            self._globalstep_last_logged = sums["last_logged_step"]
            self._initial_global_step = 0
            self._started -= sums["seconds"]

    def _finalize_training(self, trial: Any, num_train_samples: int, start_time: float) -> Any:
        self._restore_sums()
        # The seconds of all parts of the run, by a clock that nobody sets back.
        start_time = time.time() - (time.monotonic() - self._started)
        return super()._finalize_training(trial, num_train_samples, start_time)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """As the parent's, then the seal; only then older checkpoints are deleted.

        Raises:
            UserError: the disk is full or closed; what was half written is gone again, older checkpoints are as they were.
        """
        folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
        if self.args.should_save:
            discard(folder)  # of an earlier start, that went on from a checkpoint before it
        self.accelerator.wait_for_everyone()
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
            self._save_sums(folder)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                seal(folder, step=self.state.global_step, rows=self._rows, resumable=not self.args.save_only_model)
        except Exception as error:
            reason = str(error) if isinstance(error, UserError) else write_failure(error)
            if reason is None:
                raise
            discard(folder)
            kept = find_checkpoints(folder.parent)
            way = f"goes on from {kept[-1]}, which is whole" if kept else "begins anew"
            raise UserError(f"{folder} could not be written ({reason}); make room, and the same command {way}") from None
        finally:
            self.args.save_total_limit = limit
        if self.args.should_save:
            rotate(folder, self.state.best_model_checkpoint, limit)

    def _save_sums(self, folder: Path) -> None:
        """Write down what the parent sums up in memory alone. Every process takes part in the mean."""
        loss = self.accelerator.reduce(self._tr_loss, "mean").item()
        if self.args.should_save:
            sums = {
                "loss_since_log": loss,
                "loss": self._total_loss_scalar,
                "last_logged_step": self._globalstep_last_logged,
                "seconds": time.monotonic() - self._started,
            }
            write_json(folder / SUMS_FILE, sums)
