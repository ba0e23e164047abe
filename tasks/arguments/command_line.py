"""Reading a command line into dataclasses: --config files, errors in one line, no abbreviations."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import difflib
import json
import logging
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from transformers import HfArgumentParser

from tasks import distributed
from tasks.arguments.data import DataArguments
from tasks.arguments.generation import GenerationArguments
from tasks.arguments.model import FineTuningArguments
from tasks.arguments.publishing import PublishArguments
from tasks.arguments.scratch import ScratchArguments
from tasks.arguments.training import TrainingArguments
from tasks.base import Task, unusable_character
from tasks.errors import UserError

#: Bytes of a --config file: ten times what all flags there are would take.
CONFIG_LIMIT = 1 << 16


class _Parser(HfArgumentParser):
    """HfArgumentParser whose errors are UserErrors, and which never takes an abbreviation for a flag."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")


def parse_dataclasses(
    types: tuple[type, ...],
    description: str,
    argv: Sequence[str] | None = None,
    positional: str | None = None,
    required: bool = True,
) -> tuple[Any, ...]:
    """Read the command line into one object of each dataclass, and the value of ``positional`` last, where one is named.

    Without ``required`` the positional may be missing, and is None then.

    Raises:
        UserError: as ``parse_arguments``.
    """
    parser = _Parser(
        types, description=description, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", help="File of these arguments (yaml, json or flags as text); the command line wins.")
    if positional:
        parser.add_argument(positional, **({} if required else {"nargs": "?"}))
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        *parsed, rest, unknown = parser.parse_args_into_dataclasses(
            _with_config(argv), return_remaining_strings=True, look_for_args_file=False
        )
    except (ValueError, ImportError, RuntimeError) as error:  # TrainingArguments checks combinations of flags
        raise UserError(" ".join(str(error).split())) from None
    if unknown:
        known = [flag for action in parser._actions for flag in action.option_strings]
        flag = unknown[0].split("=")[0]  # its value may be a token
        near = difflib.get_close_matches(flag, known, n=1)
        raise UserError(f"unknown argument {flag}" + (f"; did you mean {near[0]}?" if near else "; see --help"))
    return (*parsed, getattr(rest, positional)) if positional else tuple(parsed)


def _with_config(argv: list[str]) -> list[str]:
    """``argv`` with the arguments of its ``--config`` file in front, where those of the command line override them."""
    places = [i for i, argument in enumerate(argv) if argument == "--config" or argument.startswith("--config=")]
    arguments: list[str] = []
    for i in places:
        value = argv[i].partition("=")[2] or (argv[i + 1] if i + 1 < len(argv) else "")
        path = Path(value)
        if not path.is_file():
            raise UserError(f"--config {value}: no such file")
        try:
            if path.stat().st_size > CONFIG_LIMIT:
                raise ValueError(f"larger than {CONFIG_LIMIT:,} bytes; it must hold `name: value` lines")
            arguments += _arguments_of(path, _text_of(path.read_bytes()))
        except OSError as error:
            raise UserError(f"--config {value} cannot be read: {error.strerror}; check the file") from None
        except ValueError as error:
            raise UserError(f"--config {value}: {error}") from None
    return arguments + argv


def _text_of(content: bytes) -> str:
    """UTF-8, or CP949 where a Korean Windows wrote the file. Raises ValueError where it is neither."""
    for encoding in ("utf-8-sig", "cp949"):
        with contextlib.suppress(UnicodeDecodeError):
            return content.decode(encoding)
    raise ValueError("neither UTF-8 nor Korean CP949; save it as UTF-8")


def _arguments_of(path: Path, text: str) -> list[str]:
    """The command line that the ``text`` of a config file stands for. Raises ValueError where it stands for none."""
    if path.suffix in (".yaml", ".yml", ".json"):
        try:
            arguments = _flags(json.loads(text, object_pairs_hook=_once) if path.suffix == ".json" else _load_yaml(text))
        except RecursionError:
            raise ValueError("nested too deeply; it must hold `name: value` lines") from None
    else:
        import shlex

        arguments = shlex.split(text, comments=True)
    for argument in arguments:
        found = unusable_character(argument)
        if found:
            raise ValueError(f"{argument[:40]!a} holds {found}; remove it")
    return arguments


def _once(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """The mapping of ``pairs``. Raises ValueError on a name that is there twice, of which parsers silently take the last."""
    found: dict[Any, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} stands there twice; leave one out")
        found[name] = value
    return found


def _load_yaml(text: str) -> Any:
    """The value of a YAML text without aliases, of which a few lines can stand for gigabytes."""
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
    """The command line of a mapping."""
    if not isinstance(settings, dict):
        raise ValueError("it must hold `name: value` lines")
    flags: list[str] = []
    for name, value in settings.items():
        if value is None:
            continue
        values = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
        flags += [f"--{name}", *map(str, values)]
    return flags


#: Arguments that two starts of one run may differ in: where and how it is watched and published, and where it goes on.
FREE = (
    "output_dir", "resume_from_checkpoint", "run_name", "project", "trackio", "hub_", "push_to_hub", "report_to",
    "log_level", "log_on", "disable_tqdm", "local_rank", "ddp_timeout", "preprocessing_num_workers", "overwrite_cache",
)  # fmt: skip


def settings_of(*arguments: Any) -> dict[str, Any]:
    """The arguments that decide what is learned, as plain values, and the number of processes.

    Two starts with the same settings are the same run. Called before anything is loaded, which fills some of them in.
    """
    settings: dict[str, Any] = {"processes": distributed.world_size()}
    for group in arguments:
        for each in dataclasses.fields(group):
            if each.init and not each.name.startswith(FREE):
                settings[each.name] = getattr(group, each.name)
    return json.loads(json.dumps(settings, default=str))


@dataclass
class RunArguments:
    """All that a run was told, one object for each group of flags.

    ``settings`` are the arguments that decide what is learned, as plain values: two starts with the same ones are the same
    run. They are taken before anything is loaded, which fills some arguments in.
    """

    model: FineTuningArguments | ScratchArguments
    data: DataArguments
    generation: GenerationArguments
    training: TrainingArguments
    publishing: PublishArguments
    settings: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.settings = settings_of(self.model, self.data, self.generation, self.training)


def parse_arguments(
    task: Task,
    description: str,
    argv: Sequence[str] | None = None,
    *,
    model_type: type = FineTuningArguments,
    training_type: type = TrainingArguments,
) -> RunArguments:
    """Read the command line of a run.

    ``--config FILE`` (yaml, json, or a text file of flags) holds the same arguments; the command line wins.

    Raises:
        UserError: an unknown flag (the nearest known one is named), a value of the wrong type, a broken config file.
    """
    types = (model_type, DataArguments, GenerationArguments, training_type, PublishArguments)
    model_args, data_args, generation_args, training_args, publish_args = parse_dataclasses(types, description, argv)
    passive = training_args.log_level == "passive"
    logging.getLogger("tasks").setLevel(logging.INFO if passive else training_args.get_process_log_level())
    wanted = (training_args.metric_for_best_model or "loss").removeprefix("eval_")
    if wanted != "loss":
        higher = {name: metric.higher for name, metric in task.metrics.items() if metric.higher is not None}
        if wanted not in higher:
            raise UserError(f"--metric_for_best_model {wanted}: {task.name} measures loss, {', '.join(higher)}")
        training_args.greater_is_better = higher[wanted]  # transformers takes all but a loss for better when greater
    if training_args.output_dir in (None, "trainer_output"):  # what transformers has for "not given"
        training_args.output_dir = str(Path("outputs") / f"{task.name}-{model_args.short_name}")
    return RunArguments(model_args, data_args, generation_args, training_args, publish_args)
