"""What is refused before FSDP or DeepSpeed begins, and the configuration files."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import yaml

from tasks.arguments.training import TrainingArguments
from tasks.errors import UserError
from tests.conftest import ROOT

CONFIGS = ROOT / "configs"


@pytest.fixture
def launched(monkeypatch):
    """The environment of a process that ``accelerate launch`` started with a file of ours, as far as it is looked at."""

    def start(**environment: str) -> None:
        for name, value in ({"LOCAL_RANK": "0", "WORLD_SIZE": "1"} | environment).items():
            monkeypatch.setenv(name, value)

    return start


def refused(**arguments) -> str:
    with pytest.raises(UserError) as caught:
        TrainingArguments(output_dir="x", **arguments)
    return str(caught.value)


def test_fsdp_in_a_single_process():
    assert refused(fsdp=True).startswith("--fsdp shards a model over several processes, and this is one; start it by accel")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "FSDP version 1 is not supported; set fsdp_version: 2"),  # what accelerate has without a version
        ({"FSDP_VERSION": "1"}, "FSDP version 1 is not supported"),
        ({"FSDP_VERSION": "2", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}, "set it to false"),
        ({"FSDP_VERSION": "2", "FSDP_ACTIVATION_CHECKPOINTING": "true"}, "use --gradient_checkpointing instead"),
        ({"FSDP_VERSION": "2", "ACCELERATE_USE_DEEPSPEED": "true"}, "leave one out"),
    ],
)
def test_what_accelerate_launch_may_not_ask_for(launched, environment, message):
    launched(ACCELERATE_USE_FSDP="true", **environment)
    assert message in refused()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"version": 1}, "FSDP version 1 is not supported"),
        ('{"fsdp_version": 1}', "FSDP version 1 is not supported"),
        ({"cpu_ram_efficient_loading": True}, "set it to false"),
        ({"activation_checkpointing": True}, "use --gradient_checkpointing instead"),
        ("missing.json", "--fsdp_config missing.json: No such file or directory"),
        ("{", "--fsdp_config {: not valid JSON"),
    ],
)
def test_what_fsdp_config_may_not_ask_for(launched, config, message):
    launched()
    assert message in refused(fsdp=True, fsdp_config=config)


def test_measuring_alone_needs_no_fsdp(launched):
    launched(ACCELERATE_USE_FSDP="true", FSDP_VERSION="2")
    assert refused(do_train=False).startswith("--no_do_train: FSDP shards what is trained")


@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is not None, reason="deepspeed is installed")
def test_deepspeed_that_is_not_installed_is_told_before_data_is_read(run_script):
    result = run_script("run_nli", "--model", "x", "--train_file", "y.csv", "--deepspeed", CONFIGS / "deepspeed/zero2.json")
    assert result.code == 2
    assert result.error == (
        "--deepspeed: the package deepspeed is not installed; pip install deepspeed, or shard the model without it by FSDP: "
        "accelerate launch --config_file configs/accelerate/fsdp.yaml scripts/..."
    )


def test_a_deepspeed_file_that_is_not_there():
    assert refused(deepspeed="missing.json") == "--deepspeed missing.json: No such file or directory"


def test_half_precision_on_a_cpu():
    assert refused(fp16=True, use_cpu=True) == "--fp16 needs a GPU; on a CPU take --bf16, or neither of them for float32"


@pytest.mark.parametrize("path", sorted((CONFIGS / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_its_files(path):
    from accelerate.commands.config.config_args import ClusterConfig

    config = ClusterConfig.from_yaml_file(str(path))  # raises on a key that it does not know
    written = yaml.safe_load(path.read_text("utf-8"))
    assert config.num_processes == written["num_processes"]
    assert config.num_machines == (2 if "machines" in path.stem else 1)
    if config.distributed_type == "FSDP":
        from accelerate.commands.launch import launch_command_parser

        known = vars(launch_command_parser().parse_args(["x.py"]))
        assert [name for name in written["fsdp_config"] if name not in known] == []
        assert written["fsdp_config"]["fsdp_version"] == 2
    else:
        assert config.distributed_type == "DEEPSPEED"
        assert (ROOT / written["deepspeed_config"]["deepspeed_config_file"]).is_file()


@pytest.mark.parametrize("stage", [2, 3])
def test_deepspeed_files_leave_to_the_flags_what_flags_say(stage, tmp_path):
    path = CONFIGS / "deepspeed" / f"zero{stage}.json"
    config = json.loads(path.read_text("utf-8"))
    assert config["zero_optimization"]["stage"] == stage
    # What transformers fills in from TrainingArguments; a number here would contradict one of them.
    by_flags = ("gradient_accumulation_steps", "gradient_clipping", "train_batch_size", "train_micro_batch_size_per_gpu")
    assert [config[name] for name in by_flags] == ["auto"] * 4
    assert config["bf16"] == config["fp16"] == {"enabled": "auto"}
    assert "optimizer" not in config  # AdamW and schedule stay the Trainer's
    if stage == 3:
        assert config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is True
    if importlib.util.find_spec("deepspeed"):
        from transformers.integrations.deepspeed import HfTrainerDeepSpeedConfig

        processed = HfTrainerDeepSpeedConfig(str(path))
        processed.trainer_config_process(TrainingArguments(output_dir=str(tmp_path), per_device_train_batch_size=3))
        assert processed.mismatches == []
        assert processed.config["train_micro_batch_size_per_gpu"] == 3


def test_a_checkpoint_is_of_fsdp_where_its_files_are(tmp_path):
    from tasks.training.sharding import check_checkpoint

    check_checkpoint(str(tmp_path), fsdp=False)
    with pytest.raises(UserError, match="was written without FSDP"):
        check_checkpoint(str(tmp_path), fsdp=True)
    for made in (Path.touch, Path.mkdir):  # a whole and a sharded one
        path = tmp_path / "pytorch_model_fsdp.x"
        made(path)
        check_checkpoint(str(tmp_path), fsdp=True)
        with pytest.raises(UserError, match="was written under FSDP"):
            check_checkpoint(str(tmp_path), fsdp=False)
        path.unlink() if path.is_file() else path.rmdir()
