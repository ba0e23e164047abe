"""The run_* scripts stand alone, so they repeat each other on purpose: what they have in common stays equal."""

import ast

import pytest

from tests.conftest import ROOT

SCRIPTS = sorted((ROOT / "scripts").glob("run_*.py"))

#: Names in the lines that make a model from nothing instead of opening one.
OWN = (
    "get_task",
    "Mixture",
    "RunData",
    "open_encoder",
    "open_model",
    "new_encoder",
    "new_model",
    "parse_arguments",
    "ScratchArguments",
    "ScratchTrainingArguments",
    "merge_adapter",
    "budget import plan",
    "plan(args, ",
)


def body(path) -> list[str]:
    """The statements of a script, one a line, without comments, its docstring, the task's name and the lines of OWN."""
    tree = ast.parse(path.read_text("utf-8"))
    text = ast.unparse(ast.Module(tree.body[1:], []))
    task = path.stem.removeprefix("run_")
    lines = text.replace(f"get_task('{task}')", "get_task(TASK)").replace(", merge_adapter=args.model.merge_adapter", "")
    return [line for line in lines.split("\n") if not any(name in line for name in OWN)]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_what_scripts_have_in_common_is_equal(path):
    assert body(path) == body(SCRIPTS[0])
    assert "Trainer(" in "\n".join(body(path))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_about_fifty_lines_of_steps(path):
    assert len(path.read_text("utf-8").split("\n")) <= 75
