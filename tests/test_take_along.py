"""What is taken along: the notebooks for Colab and the image for Docker."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
EVERY_NOTEBOOK = pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda path: path.stem)


def cells_of(source: Path) -> list[str]:
    """The cells of a notebook in the percent format, text and commands without their comment marks."""
    _, *cells = re.split(r"^# %%", source.read_text("utf-8"), flags=re.M)
    found = []
    for cell in cells:
        mark, _, body = cell.partition("\n")
        found.append(re.sub(r"^# ?" if "[markdown]" in mark else r"^# (?=!)", "", body, flags=re.M))
    return [cell.strip() for cell in found]


@EVERY_NOTEBOOK
def test_the_notebook_is_made_of_its_source(source):
    notebook = json.loads(source.with_suffix(".ipynb").read_text("utf-8"))
    assert ["".join(cell["source"]).strip() for cell in notebook["cells"]] == cells_of(source)
    assert [cell.get("outputs", []) for cell in notebook["cells"] if cell.get("outputs")] == []
    assert notebook["metadata"]["colab"] == {"gpuType": "T4"}


@pytest.mark.slow
@EVERY_NOTEBOOK
def test_a_notebook_runs_from_top_to_bottom(source, kogpt2_folder, tmp_path, monkeypatch):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    for name in ("scripts", "tasks", "model_cards"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    few = "--max_steps 2 --max_train_samples 40 --max_eval_samples 8 --max_new_tokens 8 --max_length 96"
    few += " --license apache-2.0"  # that of KoGPT2 is known by its name, and this is a folder
    (given,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    given.source = f"REPOSITORY, MODEL, FLAGS = '', {kogpt2_folder!r}, {few!r}"
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    told = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    written = "".join(output.get("text", "") for output in told)
    assert "error:" not in written, written
    assert sum("image/png" in output.get("data", ()) for output in told) == (2 if "classify" in source.name else 1)
    assert "README.md" in written  # what would be published


def test_the_image_holds_what_its_program_needs(tmp_path):
    lines = (ROOT / "Dockerfile").read_text("utf-8").splitlines()
    for line in lines:
        if line.startswith("COPY "):
            *names, target = line.split()[1:]
            for name in names:
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                copy(ROOT / name, tmp_path / target / ("" if (ROOT / name).is_dir() else name))
    start, command = (
        json.loads(next(x for x in lines if x.startswith(f"{word} "))[len(word) :]) for word in ("ENTRYPOINT", "CMD")
    )
    assert start == ["python"]
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "") and "usage" in done.stdout


def test_the_image_installs_what_the_project_has():
    command = next(line for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines() if line.startswith("RUN "))
    extras = re.search(r"\.\[([a-z,]+)\]", command)[1].split(",")
    assert set(extras) <= set(re.findall(r"^([a-z]+) =$", (ROOT / "setup.cfg").read_text("utf-8"), re.M))
