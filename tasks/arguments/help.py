"""What --help and --help_all show, and which flag an unknown one may mean."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Collection, Iterable
from pathlib import Path

import yaml

_TABLES = yaml.safe_load(Path(__file__).with_name("flags.yaml").read_text("utf-8"))
EVERYDAY, MEANT, NEEDLESS = (_TABLES[name] for name in ("everyday", "meant", "needless"))

#: It works as little as before (the error says why), and would only invite people to type a token.
UNLISTED = "hub_token"


def suggestion(flag: str, known: Collection[str], names: dict[str, str]) -> str:
    """How an error for the unknown ``flag`` ends: the flag that is meant by that name elsewhere, else one spelled alike.

    ``names`` are the task's input and target column, for --column_map.
    """
    name = flag.lstrip("-").replace("-", "_")
    for foreign, advice in NEEDLESS.items():
        if name in foreign.split():
            return f"; {advice}"
    for ours, foreign in MEANT.items():
        there = [choice for choice in ours.split(" | ") if choice.split()[0] in known]
        if there and name in foreign.split():
            return f"; did you mean {there[0].format(**names)}?"
    listed = [each for each in known if each not in (f"--{UNLISTED}", f"--{UNLISTED.replace('_', '-')}")]
    near = difflib.get_close_matches(flag, listed, n=1, cutoff=0.8)
    return f"; did you mean {near[0]}?" if near else "; see --help"


def show(parser: argparse.ArgumentParser, actions: Iterable[argparse.Action], own: Collection[str], everything: bool) -> str:
    """The help of ``parser``, each of its flags once: the ``own`` ones of the script and everyday ones, or all."""
    listed: dict[str, argparse.Action] = {}
    for action in actions:
        action.option_strings = [each for each in action.option_strings if "-" not in each[2:]]  # not also --num-beams
        if action.nargs == "?" and action.option_strings:
            action.nargs = 0  # `--bf16`, although `--bf16 false` is read, too
        if action.dest in listed:  # --no_do_train, beside --do_train
            listed[action.dest].option_strings += action.option_strings
        elif action.dest != UNLISTED:
            listed[action.dest] = action
    if "model_folder" in listed:  # takes its place
        del listed["model"]
    groups = {"This script": " ".join(own)} | EVERYDAY
    formatter = parser.formatter_class(parser.prog)
    positional = [action.dest for action in listed.values() if not action.option_strings]
    formatter.add_usage(" ".join(["%(prog)s", *positional, "[flags]"]), [], [])
    formatter.add_text(parser.description)
    for title, names in groups.items():
        formatter.start_section(title)
        formatter.add_arguments(listed.pop(name) for name in names.split() if name in listed)
        formatter.end_section()
    rest = ("config", "help", "help_all")
    formatter.start_section("All others" if everything else "More")
    formatter.add_arguments(action for name, action in listed.items() if everything or name in rest)
    formatter.end_section()
    return formatter.format_help()
