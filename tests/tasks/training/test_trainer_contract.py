"""What CompletionTrainer relies on inside transformers: another version that changes it fails here, with a name."""

from __future__ import annotations

import ast
import inspect

import pytest
from transformers import Trainer

from tasks.training.evaluation import Evaluation
from tasks.training.trainer import CompletionTrainer
from tests.conftest import ROOT

#: Private methods that are overridden, and the parameters that Trainer declares and calls them with.
OVERRIDDEN = {
    "_save": ["self", "output_dir", "state_dict"],
    "_load_from_checkpoint": ["self", "resume_from_checkpoint", "model"],
    "_load_best_model": ["self"],
    "_run_epoch": [
        "self",
        "model",
        "epoch",
        "train_dataloader",
        "steps_in_epoch",
        "num_update_steps_per_epoch",
        "trial",
        "ignore_keys_for_eval",
        "start_time",
        "resume_from_checkpoint",
        "epochs_trained",
        "steps_trained_in_current_epoch",
    ],
}

#: Private methods and attributes of Trainer that are called or read.
USED = {
    "_get_train_sampler": ["self", "train_dataset"],
    "_save_checkpoint": ["self", "model", "trial"],
    "_determine_best_metric": ["self", "metrics", "trial"],
    "_train_batch_size": None,  # an attribute: the batch size of the moment, which --auto_find_batch_size lowers
}

#: Public methods whose parameters are named in an override, or whose result is taken apart.
PUBLIC = {
    "train": ["self", "resume_from_checkpoint", "trial", "ignore_keys_for_eval"],
    "training_step": ["self", "model", "inputs", "num_items_in_batch"],
    "prediction_step": ["self", "model", "inputs", "prediction_loss_only", "ignore_keys"],
    "evaluation_loop": ["self", "dataloader", "description", "prediction_loss_only", "ignore_keys", "metric_key_prefix"],
    "create_optimizer": ["self", "model"],
    "create_scheduler": ["self", "num_training_steps", "optimizer"],
    "set_initial_training_values": ["self", "args", "dataloader"],
    "get_train_dataloader": ["self"],
    "get_eval_dataloader": ["self", "eval_dataset"],
    "save_model": ["self", "output_dir", "_internal_call"],
    "log": ["self", "logs", "start_time"],
    "create_accelerator_and_postprocess": ["self"],
}


def parameters(name: str) -> list[str]:
    return list(inspect.signature(getattr(Trainer, name)).parameters)


@pytest.mark.parametrize(("name", "expected"), [*OVERRIDDEN.items(), *PUBLIC.items(), *list(USED.items())[:-1]])
def test_the_trainer_has_the_signature_that_is_relied_on(name, expected):
    assert parameters(name) == expected


def test_only_these_private_methods_are_overridden():
    own = {
        name
        for name in {**vars(Evaluation), **vars(CompletionTrainer)}
        if hasattr(Trainer, name) and not name.startswith("__")
    }
    assert {name for name in own if name.startswith("_")} == set(OVERRIDDEN)
    assert len(OVERRIDDEN) <= 4
    assert {name for name in own if not name.startswith("_")} == {*PUBLIC, "evaluate"}


def test_only_these_private_names_of_the_trainer_are_used():
    """Of ``self`` and ``super()`` in trainer.py and evaluation.py; the callbacks are given no trainer."""
    trees = [ast.parse((ROOT / "tasks/training" / name).read_text("utf-8")) for name in ("trainer.py", "evaluation.py")]
    used = {
        node.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.startswith("_")
    }
    source = inspect.getsource(Trainer)
    theirs = {name for name in used if not name.startswith("__") and (hasattr(Trainer, name) or f"self.{name} = " in source)}
    assert theirs == {*OVERRIDDEN, *USED}
    assert "self._train_batch_size = " in source


def test_no_other_file_of_the_room_asks_for_private_names_of_another_object():
    for path in sorted((ROOT / "tasks" / "training").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                owner = ast.unparse(node.value)
                allowed = owner in ("self", "super()") or (owner, node.attr) == ("output", "_replace")  # a NamedTuple's
                assert allowed, f"{path.name}:{node.lineno}: {owner}.{node.attr}"


def test_a_checkpoint_is_written_by_save_model_first_and_announced_last():
    """``save_model(folder, _internal_call=True)`` before any other file, ``on_save`` after all of them."""
    source = inspect.getsource(Trainer._save_checkpoint)
    first = source.index("self.save_model(output_dir, _internal_call=True)")
    assert all(
        source.index(call) > first for call in ("_save_optimizer_and_scheduler(", "_save_rng_state(", "save_to_json(")
    )
    source = inspect.getsource(Trainer._maybe_log_save_evaluate)
    places = [source.index(call) for call in ("self.log(", "self._evaluate(", "self._save_checkpoint(", "on_save(")]
    assert places == sorted(places)
