"""Reading a command line into dataclasses: --config files, errors in one line, no abbreviations."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from transformers import HfArgumentParser

from tasks.errors import UserError


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
            text = path.read_text("utf-8-sig")
            if path.suffix in (".yaml", ".yml", ".json"):
                arguments += _flags(path, text)
            else:
                import shlex

                arguments += shlex.split(text, comments=True)
        except (ValueError, UnicodeDecodeError) as error:
            raise UserError(f"--config {value}: {error}") from None
    return arguments + argv


def _flags(path: Path, text: str) -> list[str]:
    """The command line of a mapping in yaml or json."""
    import yaml

    try:
        settings = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    if not isinstance(settings, dict):
        raise ValueError("it must hold `name: value` lines")
    flags: list[str] = []
    for name, value in settings.items():
        if value is None:
            continue
        values = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
        flags += [f"--{name}", *map(str, values)]
    return flags
