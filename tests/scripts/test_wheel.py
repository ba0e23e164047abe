"""A wheel, installed where nothing else of this project is: from a tokenizer to a card."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tasks.publishing.lint import lint_path
from tests.conftest import ROOT
from tests.scripts.conftest import read_json

#: Run the script that argv names, after a look at where the packages come from: the checkout may be installed with -e.
PROGRAM = """
import runpy, sys
import model_cards, tasks
for package in (model_cards, tasks):
    assert package.__file__.startswith(sys.argv[1]), package.__file__
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that the wheel was installed into."""
    folder = tmp_path_factory.mktemp("wheel")
    source, target = folder / "source", folder / "target"  # a build in the checkout would leave its folder there
    for name in ("tasks", "model_cards"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    alone = ("--no-deps", "--no-index", "--disable-pip-version-check")
    for command in (
        ("wheel", "--no-build-isolation", *alone, "--wheel-dir", folder, source),
        ("install", *alone, "--target", target, folder / "korean_causal_lm_tasks-0.1.0-py3-none-any.whl"),
    ):
        done = subprocess.run([sys.executable, "-m", "pip", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return target


def test_a_wheel_goes_from_tokenizer_to_card(installed, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(installed), str(ROOT / "scripts" / "run_scratch.py"), "--sample_data",
         "--max_train_samples", "40", "--max_eval_samples", "4", "--vocab_size", "500", "--model_size", "mini",
         "--n_positions", "64", "--max_steps", "2", "--num_samples", "1", "--max_new_tokens", "4", "--output_dir", "run",
         "--card_language", "ko", "--license", "apache-2.0"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert lint_path(tmp_path / "run") == []
    assert "## 용도와 한계" in (tmp_path / "run" / "README.md").read_text("utf-8")
    assert read_json(tmp_path / "run" / "run_report.json")["git_commit"] is None  # a wheel does not know its commit


def test_a_wheel_has_every_template_table_and_sample(installed):
    for pattern in ("model_cards/*.md", "model_cards/*.jinja", "tasks/*/*.yaml", "tasks/*/*.css", "tasks/samples/*/*.jsonl"):
        found = {path.relative_to(installed) for path in installed.glob(pattern)}
        assert found == {path.relative_to(ROOT) for path in ROOT.glob(pattern)} != set()
