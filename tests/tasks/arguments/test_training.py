"""The command line: transformers' flags, our defaults, configs, and mistakes that are named."""

from __future__ import annotations

import dataclasses
import logging

import pytest
from transformers import TrainingArguments as HfTrainingArguments

from tasks import get_task
from tasks.arguments.command_line import parse_arguments, parse_dataclasses
from tasks.arguments.generation import GenerationArguments
from tasks.arguments.model import ScratchArguments
from tasks.arguments.training import TrainingArguments
from tasks.errors import UserError

TASK = get_task("summarize")


NOT_NEGATIVE = ("learning_rate", "max_grad_norm", "weight_decay", "warmup_steps", "adam_epsilon")
FORBIDDEN = ("0.0", "-1.0", "nan", "inf")


def parse(*argv: str):
    return parse_arguments(TASK, "description", list(argv))


def training(*argv: str) -> TrainingArguments:
    return parse(*argv).training


# Defaults


def test_the_defaults_are_those_of_the_documentation():
    args = parse()
    model, data, generation, training = args.model, args.data, args.generation, args.training
    assert model.model == "skt/kogpt2-base-v2" and model.dtype == "float32" and model.trust_remote_code is False
    assert data.validation_split == 0.05 and data.sample_data is False and data.max_length is None
    assert set(vars(generation).values()) == {None}  # what is not given is the task's
    assert training.learning_rate == 3e-5
    assert training.warmup_steps == 0.1
    assert training.num_train_epochs == 3
    assert training.per_device_train_batch_size == training.per_device_eval_batch_size == 16
    assert (training.do_train, training.do_eval, training.do_predict) == (True, True, True)
    assert (training.eval_strategy, training.save_strategy) == ("epoch", "epoch")
    assert training.load_best_model_at_end is True and training.metric_for_best_model == "loss"
    assert training.greater_is_better is False
    assert training.save_total_limit == 2 and training.logging_steps == 10
    assert training.early_stopping_patience is None
    assert training.overwrite_output_dir is False and training.resume_from_checkpoint is None


def test_a_tenth_of_the_steps_is_warm_up():
    assert training().get_warmup_steps(1000) == 100
    assert training("--warmup_steps", "7").get_warmup_steps(1000) == 7


def test_the_folder_is_named_after_task_and_model():
    assert training().output_dir == "outputs/summarize-kogpt2-base-v2"
    assert training("--model", "models/mine/").output_dir == "outputs/summarize-mine"
    assert training("--output_dir", "here").output_dir == "here"


def test_notices_have_the_log_level_of_the_command_line():
    for name, level in (("error", logging.ERROR), ("debug", logging.DEBUG), ("passive", logging.INFO)):
        parse("--log_level", name)
        assert logging.getLogger("tasks").level == level


def test_from_scratch_has_defaults_of_its_own():
    argv = ["--model_size", "mini", "--vocab_size", "8000"]
    args = parse_arguments(get_task("scratch"), "d", argv)
    model, training = args.model, args.training
    assert (model.vocab_size, model.model_size, model.n_positions) == (8000, "mini", 1024)
    assert (training.learning_rate, training.weight_decay, training.adam_beta2) == (6e-4, 0.1, 0.95)
    assert training.lr_scheduler_type == "cosine"
    assert training.output_dir == "outputs/scratch-mini"
    with pytest.raises(UserError, match="--n_positions is 15; it must be 16 or more"):
        ScratchArguments(n_positions=15)
    assert ScratchArguments().vocab_size == 52_000


# Flags


def test_every_flag_of_transformers_training_arguments_is_ours_too():
    ours = {field.name: field for field in dataclasses.fields(TrainingArguments)}
    theirs = {field.name for field in dataclasses.fields(HfTrainingArguments) if field.init}
    assert theirs <= set(ours)
    argv = [
        "--gradient_accumulation_steps", "4", "--gradient_checkpointing", "--optim", "adafactor", "--seed", "7",
        "--lr_scheduler_type", "cosine", "--max_steps", "5", "--logging_steps", "3", "--report_to", "none",
        "--train_sampling_strategy", "group_by_length", "--weight_decay", "0.1", "--save_total_limit", "1",
        "--neftune_noise_alpha", "5", "--label_smoothing_factor", "0.1", "--dataloader_num_workers", "2",
    ]  # fmt: skip
    read = training(*argv)
    assert (read.gradient_accumulation_steps, read.gradient_checkpointing, read.optim, read.seed) == (
        4, True, "adafactor", 7,
    )  # fmt: skip
    assert (read.max_steps, read.logging_steps, read.train_sampling_strategy) == (5, 3, "group_by_length")
    assert (read.report_to, training().report_to) == ([], [])


@pytest.mark.parametrize("given", [["tensorboard,trackio"], ["tensorboard", "trackio"]])
def test_several_trackers(given, monkeypatch):
    available = "transformers.integrations.integration_utils.get_available_reporting_integrations"
    monkeypatch.setattr(available, lambda: ["tensorboard", "trackio"])
    assert training("--report_to", *given, "--seed", "7").report_to == ["tensorboard", "trackio"]


def test_batches_are_of_tokens_unless_another_way_of_sampling_is_asked_for():
    assert (training().tokens_per_batch, training("--tokens_per_batch", "0").tokens_per_batch) == (None, 0)
    assert training("--train_sampling_strategy", "group_by_length").tokens_per_batch == 0
    with pytest.raises(UserError, match=r"group_by_length makes batches of rows, .* give one of them"):
        training("--train_sampling_strategy", "group_by_length", "--tokens_per_batch", "4096")
    with pytest.raises(UserError, match="--tokens_per_batch is -1; it must be 0 "):
        training("--tokens_per_batch", "-1")


@pytest.mark.parametrize("flag", ["--model", "--model_name_or_path"])
@pytest.mark.parametrize("joined", [True, False])
def test_model_has_the_name_of_the_hugging_face_examples_too(flag, joined):
    argv = [f"{flag}=me/gpt"] if joined else [flag, "me/gpt"]
    assert parse(*argv).model.model == "me/gpt"


def test_training_can_be_switched_off():
    assert training("--no_do_train").do_train is False
    assert training("--do_train", "False").do_train is False
    assert training("--do_train").do_train is True


@pytest.mark.parametrize(
    ("argv", "expected"),
    [((), None), (("--do_sample",), True), (("--do_sample", "true"), True), (("--do_sample", "false"), False)],
)
def test_sampling_is_on_off_or_the_tasks_choice(argv, expected):
    assert parse(*argv).generation.do_sample is expected


def test_a_bare_do_sample_takes_no_word_from_the_flag_after_it():
    generation = parse("--do_sample", "--top_k", "5").generation
    assert (generation.do_sample, generation.top_k) == (True, 5)


@pytest.mark.parametrize("flag", ["--eval_strategy", "--save_strategy"])
def test_without_evaluations_or_checkpoints_there_is_no_best_model(flag):
    assert training(flag, "no").load_best_model_at_end is False


@pytest.mark.parametrize(
    ("task", "metric", "greater"),
    [("summarize", "rougeL", True), ("nli", "accuracy", True), ("qa", "f1", True), ("qa", "eval_f1", True),
     ("summarize", "loss", False), ("summarize", "eval_loss", False), ("generate", "bits_per_character", False),
     ("generate", "perplexity", False), ("generate", "eval_perplexity", False)],
)  # fmt: skip
def test_the_metric_says_whether_more_is_better(task, metric, greater):
    # transformers would keep the model with the highest perplexity: it takes all but a loss for better when greater.
    read = parse_arguments(get_task(task), "d", ["--metric_for_best_model", metric])
    assert read.training.greater_is_better is greater


def test_a_metric_that_the_task_does_not_have_is_refused_before_training():
    with pytest.raises(UserError, match=r"--metric_for_best_model bleu: summarize measures loss, .*rougeL"):
        parse("--metric_for_best_model", "bleu")


def test_a_figure_of_which_more_is_neither_better_nor_worse_chooses_no_model():
    with pytest.raises(UserError, match=r"--metric_for_best_model distinct_1: generate measures loss, bits_per_char"):
        parse_arguments(get_task("generate"), "d", ["--metric_for_best_model", "distinct_1"])


@pytest.mark.parametrize(
    "argv", [("--eval_strategy", "no"), ("--save_strategy", "no"), ("--load_best_model_at_end", "false")]
)
def test_early_stopping_without_what_it_needs_is_refused(argv):
    with pytest.raises(UserError, match="--early_stopping_patience needs evaluations and checkpoints"):
        parse("--early_stopping_patience", "2", *argv)


# Mistakes


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--learning_rat", "1"), "unknown argument --learning_rat; did you mean --learning_rate?"),
        (("--num_beam=3",), "unknown argument --num_beam; did you mean --num_beams?"),
        (("--train_fil", "x"), "unknown argument --train_fil; did you mean --train_file?"),
        (("--qqqqqqqqqqqq",), "unknown argument --qqqqqqqqqqqq; see --help"),
        (("stray",), "unknown argument stray; see --help"),
        (("--num_train_epochs", "many"), "argument --num_train_epochs/--num-train-epochs: invalid float value: 'many'; see"),
        (("--dtype", "float8"), "argument --dtype: invalid choice: 'float8'"),
        (("--model",), "expected one argument; see --help"),
        (("--do_train", "perhaps"), "perhaps"),
        (("--optim", "magic"), "magic"),
        (("--eval_strategy", "sometimes"), "sometimes"),
        (("--eval_strategy", "steps", "--save_strategy", "epoch"), "requires the save and eval strategy to match"),
    ],
)
def test_a_mistake_is_named_in_one_line(argv, message):
    with pytest.raises(UserError) as caught:
        parse(*argv)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("flag", "value", "must"),
    [
        *(("num_train_epochs", value, "a number over 0") for value in FORBIDDEN),
        *((flag, value, "0 or more") for flag in NOT_NEGATIVE
          for value in FORBIDDEN if value != "0.0"),
        *((flag, value, "from 0 to below 1") for flag in ("adam_beta1", "adam_beta2", "label_smoothing_factor")
          for value in ("nan", "1.0", "-0.5")),
        *((flag, value, "1 or more") for value in ("0", "-4")
          for flag in ("gradient_accumulation_steps", "per_device_train_batch_size", "per_device_eval_batch_size")),
        ("max_steps", "0", "1 or more, or left out for --num_train_epochs"),
        ("max_steps", "-5", "1 or more, or left out for --num_train_epochs"),
    ],
)  # fmt: skip
def test_training_that_would_do_nothing_is_refused_by_flag(flag, value, must):
    with pytest.raises(UserError) as caught:
        training(f"--{flag}={value}")
    assert str(caught.value) == f"--{flag} is {value}; it must be {must}"


def test_numbers_at_the_edge_of_what_trains():
    flags = {"max_grad_norm": 0, "weight_decay": 0, "warmup_steps": 0, "max_steps": -1, "adam_beta1": 0}
    args = training(*(f"--{name}={value}" for name, value in flags.items()))
    assert {name: getattr(args, name) for name in flags} == flags


def test_abbreviations_are_not_guessed():
    with pytest.raises(UserError, match="unknown argument --max_n; "):
        parse("--max_n", "3")


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("max_new_tokens", 0, 1),
        ("num_beams", 0, 1),
        ("top_k", -1, 0),
        ("no_repeat_ngram_size", -1, 0),
        ("num_samples", -1, 0),
        ("top_p", 0.0, 0.1),
        ("top_p", 1.1, 1.0),
        ("temperature", 0.0, 0.1),
        ("temperature", float("nan"), 9.0),
        ("repetition_penalty", -1.0, 1.0),
    ],
)
def test_decoding_values_out_of_range_are_refused_and_the_nearest_are_taken(name, bad, good):
    with pytest.raises(UserError, match=f"--{name} is .*; it must be "):
        GenerationArguments(**{name: bad})
    assert getattr(GenerationArguments(**{name: good}), name) == good


# --config


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run.yaml", "learning_rate: 1.0e-4\nmodel: me/gpt\nsample_data: true\nmax_length:\nnum_beams: 3\n"),
        ("run.yml", "learning_rate: 1e-4\nmodel: me/gpt\nsample_data: true\nnum_beams: 3\n"),
        ("run.json", '{"learning_rate": 1e-4, "model": "me/gpt", "sample_data": true, "num_beams": 3, "max_length": null}'),
        ("run.txt", "--learning_rate 1e-4 # a note\n--model 'me/gpt'\n--sample_data\n--num_beams=3\n"),
        ("run.args", "\ufeff--learning_rate 1e-4 --model me/gpt --sample_data --num_beams 3"),
    ],
)
def test_a_config_holds_the_same_arguments_and_the_command_line_wins(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, "utf-8")
    for argv in (["--config", str(path)], [f"--config={path}"]):
        args = parse(*argv)
        assert (args.model.model, args.data.sample_data, args.generation.num_beams) == ("me/gpt", True, 3)
        assert args.training.learning_rate == 1e-4
    for argv in (["--learning_rate", "2", "--config", str(path)], ["--config", str(path), "--learning_rate", "2"]):
        args = parse(*argv)
        assert (args.training.learning_rate, args.generation.num_beams) == (2, 3)


def test_a_mapping_in_a_config_reaches_the_flag_that_takes_json(tmp_path):
    (tmp_path / "run.yaml").write_text("lr_scheduler_type: cosine_with_min_lr\nlr_scheduler_kwargs: {min_lr: 1.0e-6}\n")
    assert training("--config", str(tmp_path / "run.yaml")).lr_scheduler_kwargs == {"min_lr": 1e-6}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("run.yaml", "a: [1", "while parsing a flow"),
        ("run.yaml", "- a\n- b\n", "it must hold `name: value` lines"),
        ("run.yaml", "", "it must hold `name: value` lines"),
        ("run.json", "{", "Expecting property name"),
        ("run.json", "[]", "it must hold `name: value` lines"),
        ("run.txt", "--model 'open", "No closing quotation"),
        ("run.yaml", "learning_rat: 1", "unknown argument --learning_rat; did you mean --learning_rate?"),
    ],
)
def test_a_broken_config_is_named(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text, "utf-8")
    with pytest.raises(UserError) as caught:
        parse("--config", str(path))
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).startswith("unknown argument" if "unknown" in message else f"--config {path}: ")


def test_a_missing_config_is_named(tmp_path):
    for argv in (["--config", "nowhere.yaml"], ["--config=nowhere.yaml"]):
        with pytest.raises(UserError, match=r"--config nowhere.yaml: no such file"):
            parse(*argv)
    with pytest.raises(UserError, match=r"--config .*: no such file"):
        parse("--config", str(tmp_path))
    with pytest.raises(UserError, match="--config"):
        parse("--config")


def test_a_config_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_bytes("model: 한글".encode("cp949"))
    with pytest.raises(UserError, match=r"--config .*run.yaml: not UTF-8; save it as UTF-8"):
        parse("--config", str(path))


def test_a_positional_argument_comes_last():
    generation, folder = parse_dataclasses((GenerationArguments,), "d", ["outputs/run", "--num_beams", "2"], "model")
    assert (generation.num_beams, folder) == (2, "outputs/run")
    with pytest.raises(UserError, match="model"):
        parse_dataclasses((GenerationArguments,), "d", [], "model")


@pytest.mark.parametrize(("text", "number"), [("24.0", 24), ("1e2", 100), ("7", 7)])
def test_whole_numbers_as_spreadsheets_and_yaml_write_them(text, number, tmp_path):
    assert training("--max_steps", text).max_steps == number
    config = tmp_path / "run.yaml"
    config.write_text(f"max_steps: {text}\n", "utf-8")
    assert training("--config", str(config)).max_steps == number


def test_a_part_of_a_step_is_none():
    with pytest.raises(UserError, match=r"invalid int value: '2\.5'"):
        training("--max_steps", "2.5")
