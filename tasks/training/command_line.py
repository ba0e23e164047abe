"""Reading a command line into dataclasses: --config files, errors in one line, no abbreviations."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from transformers import HfArgumentParser

from tasks.base import unusable_character
from tasks.errors import UserError
from tasks.training.charset import encoding_of
from tasks.training.json_rows import parse
from tasks.training.rows import DEPTH_LIMIT

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
            arguments += _arguments_of(path, path.read_text(encoding_of(value)))
        except OSError as error:
            raise UserError(f"--config {value} cannot be read: {error.strerror}; check the file") from None
        except (ValueError, UserError) as error:
            raise UserError(f"--config {value}: {error}") from None
    return arguments + argv


def _arguments_of(path: Path, text: str) -> list[str]:
    """The command line that the ``text`` of a config file stands for. Raises ValueError where it stands for none."""
    if path.suffix in (".yaml", ".yml"):
        arguments = _flags(_load_yaml(text))
    elif path.suffix == ".json":
        arguments = _flags(parse(text, path.name))
    else:
        import shlex

        arguments = shlex.split(text, comments=True)
    for argument in arguments:
        found = unusable_character(argument)
        if found:
            raise ValueError(f"{argument[:40]!a} holds {found}; remove it")
    return arguments


def _load_yaml(text: str) -> Any:
    """The value of a yaml file without aliases: a few lines of them can stand for more than any memory holds."""
    import yaml

    try:
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEPTH_LIMIT:  # PyYAML's time grows with the square of the depth
                raise ValueError(f"line {event.start_mark.line + 1}: nested too deeply; it must hold `name: value` lines")
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"line {event.start_mark.line + 1}: write the value instead of the alias *{event.anchor}")
        node = yaml.compose(text, yaml.SafeLoader)
        if isinstance(node, yaml.MappingNode):
            names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            repeated = next((name for name, count in names.items() if count > 1), None)
            if repeated is not None:
                raise ValueError(f"{repeated!r} stands there twice; leave one out")
        return yaml.safe_load(text)
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
