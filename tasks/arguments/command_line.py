"""Parse a command line into dataclasses: --config files, errors in one line, no abbreviated flags."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from transformers.hf_argparser import HfArgumentParser

from tasks import distributed
from tasks.arguments import training_flags
from tasks.arguments.data import DataArguments
from tasks.arguments.generation import GenerationArguments
from tasks.arguments.help import show, suggestion
from tasks.arguments.mixture import MixtureArguments
from tasks.arguments.model import FineTuningArguments, ScratchArguments
from tasks.arguments.publishing import PublishArguments
from tasks.arguments.sharding import check_adapter, is_sharded
from tasks.base import Task
from tasks.errors import UserError
from tasks.machine import slow_half
from tasks.mixture import Mixture
from tasks.text import unusable_character

if TYPE_CHECKING:
    from tasks.arguments.training import TrainingArguments

logger = logging.getLogger(__name__)

#: Largest --config file in bytes: ten times what all flags together would take.
CONFIG_LIMIT = 1 << 16


class _Parser(HfArgumentParser):
    """HfArgumentParser that raises UserError instead of printing its usage and exiting."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")


def parse_dataclasses(
    types: tuple[type, ...],
    description: str,
    argv: Sequence[str] | None = None,
    positional: str | None = None,
    required: bool = True,
    many: bool = False,
    others: bool = False,
    task: Task | None = None,
) -> tuple[Any, ...]:
    """Parse the command line into one object per dataclass, followed by the value of ``positional`` if one is named.

    A positional that is not ``required`` is None when missing; of ``many`` it is a list. With ``others`` the words that are
    not known are returned, as a list before the positional. Raises UserError as ``parse_arguments``.
    """
    formatter = argparse.RawDescriptionHelpFormatter
    parser = _Parser(types, description=description, allow_abbrev=False, formatter_class=formatter, add_help=False)
    parser.add_argument("--help", "-h", action="store_true", help="Show the flags that most people need, and exit.")
    parser.add_argument("--help_all", action="store_true", help="Show every flag, and exit.")
    parser.add_argument("--config", help="File of these arguments (yaml, json or flags as text); the command line wins.")
    if positional:
        parser.add_argument(positional, nargs="*" if many else None if required else "?")
    for action in parser._actions:
        action.type = whole_number if action.type is int else action.type
    argv = list(sys.argv[1:] if argv is None else argv)
    if _help_wanted(argv):
        scripts = [kind for kind in types if not kind.__module__.startswith(__package__)]
        own = [flag.name for kind in scripts for flag in dataclasses.fields(kind)]
        print(show(parser, parser._actions, own, "--help_all" in argv), end="")
        raise SystemExit(0)
    try:
        *parsed, rest, unknown = parser.parse_args_into_dataclasses(
            _with_config(argv), return_remaining_strings=True, look_for_args_file=False
        )
    except (UserError, MemoryError):
        raise
    except Exception as error:  # from the __post_init__ of TrainingArguments, where a value may break anything
        text = " ".join(str(error).split())
        given = ", ".join(dict.fromkeys(flag.split("=")[0] for flag in argv if flag.startswith("--")))
        raise UserError(text if "--" in text else f"one of {given} has a value that does not work: {text}") from None
    if others:
        parsed.append(unknown)
    elif unknown:
        known = [flag for action in parser._actions for flag in action.option_strings]
        flag = unknown[0].split("=")[0]  # its value may be a token
        names = {"input": "OURS", "target": "OURS"}
        if task:
            names = {"input": task.input_columns[0].name, "target": [*task.input_columns, *task.target_columns][-1].name}
        raise UserError(f"unknown argument {flag}{suggestion(flag, known, names)}")
    return (*parsed, getattr(rest, positional)) if positional else tuple(parsed)


def whole_number(text: str) -> int:
    """The int that ``text`` says, also as 24.0 or 1e2, which is how spreadsheets and YAML files may write it."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not number.is_integer():
            raise
        return int(number)


whole_number.__name__ = "int"  # argparse names it in its message


def _help_wanted(argv: Sequence[str]) -> bool:
    return not {"-h", "--help", "--help_all"}.isdisjoint(argv)


def _with_config(argv: list[str]) -> list[str]:
    """Put the arguments of the ``--config`` files before those of ``argv``, which override them."""
    arguments: list[str] = []
    for i, argument in enumerate(argv):
        if argument != "--config" and not argument.startswith("--config="):
            continue
        value = argument.partition("=")[2] or "".join(argv[i + 1 : i + 2])
        path = Path(value)
        if not path.is_file():
            raise UserError(f"--config {value}: no such file")
        try:
            if path.stat().st_size > CONFIG_LIMIT:
                raise ValueError(f"larger than {CONFIG_LIMIT:,} bytes; it must hold `name: value` lines")
            arguments += _arguments_of(path, path.read_text("utf-8-sig"))
        except OSError as error:
            raise UserError(f"--config {value} cannot be read: {error.strerror}; check the file") from None
        except ValueError as error:
            problem = "not UTF-8; save it as UTF-8" if isinstance(error, UnicodeDecodeError) else error
            raise UserError(f"--config {value}: {problem}") from None
    return arguments + argv


def _arguments_of(path: Path, text: str) -> list[str]:
    """The arguments in the ``text`` of a config file. Raises ValueError if there are none to be read."""
    try:
        if path.suffix == ".json":
            arguments = _flags(json.loads(text, object_pairs_hook=_once))
        elif path.suffix in (".yaml", ".yml"):
            arguments = _flags(_load_yaml(text))
        else:
            arguments = shlex.split(text, comments=True)
    except RecursionError:
        raise ValueError("nested too deeply; it must hold `name: value` lines") from None
    for argument in arguments:
        if found := unusable_character(argument):
            raise ValueError(f"{argument[:40]!a} holds {found}; remove it")
    return arguments


def _once(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """``dict(pairs)``. Raises ValueError on a duplicate name, of which parsers silently keep the last value."""
    found: dict[Any, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} stands there twice; leave one out")
        found[name] = value
    return found


def _load_yaml(text: str) -> Any:
    """Parse YAML, refusing aliases: a few lines of them can expand to gigabytes."""
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                event = self.peek_event()
                line = event.start_mark.line + 1
                raise ValueError(f"line {line}: write the value instead of the alias *{event.anchor}")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            _once((key.value, None) for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def _flags(settings: Any) -> list[str]:
    """The command-line arguments that a mapping of names to values stands for."""
    if not isinstance(settings, dict):
        raise ValueError("it must hold `name: value` lines")
    flags: list[str] = []
    for name, value in settings.items():
        if value is not None:
            values = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
            flags += [f"--{name}", *map(str, values)]
    return flags


#: Arguments that may change when a run is resumed: where it is written, how it is monitored and published.
FREE = (
    "output_dir", "resume_from_checkpoint", "run_name", "project", "trackio", "hub_", "push_to_hub", "report_to",
    "log_level", "log_on", "disable_tqdm", "local_rank", "ddp_timeout", "preprocessing_num_workers", "overwrite_cache",
)  # fmt: skip


def settings_of(*arguments: Any) -> dict[str, Any]:
    """The arguments that determine the result of training, as JSON values, and the number of processes."""
    flags = [(group, flag.name) for group in arguments for flag in dataclasses.fields(group) if flag.init]
    settings = {name: getattr(group, name) for group, name in flags if not name.startswith(FREE)}
    return json.loads(json.dumps({"processes": distributed.world_size()} | settings, default=str))


@dataclass
class RunArguments:
    """A run's command line, one object per group of flags.

    ``settings`` determine the result of training, and a run is resumed only with the same ones. They are recorded before
    loading the model or the data fills in some arguments. ``given`` are the flags that were used, and ``plan`` what
    ``--budget_hours`` or ``--tokens`` decided, by flag.
    """

    model: FineTuningArguments | ScratchArguments
    data: DataArguments
    generation: GenerationArguments
    training: TrainingArguments
    publishing: PublishArguments
    settings: dict[str, Any]
    given: frozenset[str] = frozenset()
    plan: dict[str, Any] = field(default_factory=dict)


def _check_head(task: Task, model_args: Any, data_args: DataArguments, training_args: Any) -> None:
    """Raises UserError where a task without labels is to have a head, or a flag does not go with one."""
    if task.output_type != "multiple_choice":
        raise UserError(f"--head: {task.name} has no labels; leave it out")
    if flag := next((name for name in ("label_words", "label_form") if getattr(data_args, name)), None):
        raise UserError(f"--{flag}: with --head no label is written; leave one of them out")
    if training_args.label_smoothing_factor:
        raise UserError("--label_smoothing_factor: not with --head; leave one of them out")
    if model_args.lora_r is not None and not model_args.merge_adapter:
        raise UserError("--lora_r with --head: an adapter alone does not hold the labels; add --merge_adapter")


def parse_arguments(task: Task, description: str, argv: Sequence[str] | None = None) -> RunArguments:
    """Parse the command line of a run, and the ``--config`` files (yaml, json, or flags as text) that it names.

    Raises:
        UserError: an unknown flag (the message names the nearest one), a value of the wrong type, a damaged config file.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    is_mixture = isinstance(task, Mixture)
    kind = "Scratch" if task.from_scratch else "Mixture" if is_mixture else ""
    training_type: type = getattr(training_flags, f"{kind or 'Training'}Flags")
    if not _help_wanted(argv) or "--help_all" in argv:  # torch takes seconds to import
        from tasks.arguments import training

        training_type = getattr(training, f"{kind}TrainingArguments")
    model_type = ScratchArguments if task.from_scratch else FineTuningArguments
    data_type = MixtureArguments if is_mixture else DataArguments
    types = (model_type, data_type, GenerationArguments, training_type, PublishArguments)
    parsed = parse_dataclasses(types, description, argv, task=None if is_mixture else task)
    model_args, data_args, generation_args, training_args, publish_args = parsed
    if is_mixture:
        task.choose(data_args.tasks)
    passive = training_args.log_level == "passive"
    logging.getLogger("tasks").setLevel(logging.INFO if passive else training_args.get_process_log_level())
    check_adapter(training_args, getattr(model_args, "lora_r", None))
    given = frozenset(word[2:].partition("=")[0].replace("-", "_") for word in _with_config(argv) if word.startswith("--"))
    if budget := getattr(model_args, "budget", None):
        clashes = {name: name in given for name in ("max_steps", "num_train_epochs")} | {"streaming": data_args.streaming}
        clashes["fsdp or --deepspeed"] = "budget_hours" in given and is_sharded(training_args)  # nobody has timed those
        if clash := next((name for name, used in clashes.items() if used), None):
            raise UserError(
                f"{budget} says how long to train on a corpus of known size, so that --{clash} does not go with it; leave "
                "one of them out"
            )
    if data_args.head:
        _check_head(task, model_args, data_args, training_args)
    kinds = {"bf16": "bfloat16", "bf16_full_eval": "bfloat16", "fp16": "float16", "fp16_full_eval": "float16"}
    halves = [(f"--{flag}", kind) for flag, kind in kinds.items() if getattr(training_args, flag)]
    for flag, kind in (*halves, ("--dtype", getattr(model_args, "dtype", "float32"))):
        if slow := slow_half(flag, kind, training_args.device):
            logger.warning(slow)
    wanted = (training_args.metric_for_best_model or "loss").removeprefix("eval_")
    if wanted != "loss":
        higher = {name: metric.higher for name, metric in task.metrics.items() if metric.higher is not None}
        if wanted not in higher:
            raise UserError(f"--metric_for_best_model {wanted}: {task.name} measures loss, {', '.join(higher)}")
        training_args.greater_is_better = higher[wanted]  # transformers assumes that greater is better, except for a loss
    if training_args.output_dir in (None, "trainer_output"):  # transformers' default
        training_args.output_dir = str(Path("outputs") / f"{task.name}-{model_args.short_name}")
    if training_args.report_to:  # else each start of a run is another one to a tracker
        training_args.run_name = training_args.run_name or Path(training_args.output_dir).name
    settings = settings_of(model_args, data_args, generation_args, training_args)
    return RunArguments(model_args, data_args, generation_args, training_args, publish_args, settings, given)
