"""docs/what-to-expect: its rows are run, and what they measured lands in both pages."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from tests.conftest import ROOT
from tests.helpers.hub_server import hub_env

pytest_plugins = ["tests.helpers.hub_fixtures"]

PAGES = ("what-to-expect.md", "what-to-expect.ko.md")
CONTEXT = "남대천도서관은 5월 7일에 다시 문을 연다."

#: Stand-ins for the data sets that the rows name, with the columns and splits they have on the Hub.
STAND_INS = {
    "e9t/nsmc": {
        split: [{"id": str(n), "document": f"영화 {n}번", "label": n % 2} for n in range(12)] for split in ("train", "test")
    },
    "klue/klue": {
        split: [
            {"guid": f"g-{n}", "source": "x", "premise": f"비가 {n}번 왔다.", "hypothesis": "땅이 젖었다.", "label": n % 3}
            for n in range(start, start + 12)
        ]
        for split, start in (("train", 0), ("validation", 12))
    },
    "KorQuAD/squad_kor_v1": {
        split: [
            {"id": f"{split}-{n}", "title": "t", "context": CONTEXT, "question": f"{n}. 언제 여나?",
             "answers": {"text": ["5월 7일"], "answer_start": [CONTEXT.index("5월")]}}
            for n in range(8)
        ]
        for split in ("train", "validation")
    },
    "daekeun-ml/naver-news-summarization-ko": {
        split: [
            {"date": "2022-07-01", "category": "economy", "press": "p", "title": f"제목 {n}", "link": "l",
             "document": f"{split} {CONTEXT} {n}", "summary": f"도서관이 다시 연다. {n}"}
            for n in range(8)
        ]
        for split in ("train", "validation", "test")
    },
}  # fmt: skip


def add_data_sets(hub) -> None:
    """Each stand-in at the revision and under the configuration that its task asks for."""
    for name, splits in STAND_INS.items():
        folder = "nli" if name == "klue/klue" else "data"
        files = {}
        for split, rows in splits.items():
            content = io.BytesIO()
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), content)
            files[f"{folder}/{split}-00000-of-00001.parquet"] = content.getvalue()
        if name == "klue/klue":
            configs = "---\nconfigs:\n- config_name: nli\n  data_files:\n"
            files["README.md"] = (
                configs + "".join(f"  - {{split: {split}, path: nli/{split}-*.parquet}}\n" for split in splits) + "---\n"
            ).encode()
        repo = hub.add_repo(f"datasets/{name}", files)
        if name == "e9t/nsmc":
            repo.branches["refs/convert/parquet"] = repo.head.id  # the Hub makes it, nobody else can


def project(folder: Path) -> Path:
    """A copy of docs beside links to the code, so that the real pages stay as they are."""
    folder.mkdir()
    for name in ("scripts", "tasks", "model_cards"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "docs").mkdir()
    for name in (*PAGES, "what_to_expect.sh", "what_to_expect.py"):
        shutil.copy(ROOT / "docs" / name, folder / "docs" / name)
    return folder


def rows_of(page: Path) -> dict[str, str]:
    """The last cell of each row that has a name."""
    found = re.findall(r"^\| ([a-z-]+) \| .* \| ([^|]+) \|$", page.read_text("utf-8"), re.M)
    return {name: cell for name, cell in found if name != "row" and set(name) != {"-"}}


@pytest.mark.parametrize("page", PAGES)
def test_every_row_of_the_program_stands_in_the_page_unmeasured(page):
    program = (ROOT / "docs/what_to_expect.sh").read_text("utf-8")
    names = re.findall(r"^row ([a-z-]+) run_", program, re.M)
    assert names and set(names) == set(rows_of(ROOT / "docs" / page))
    assert set(names) == set(re.search(r"\$\{\*:-([a-z -]+)\}", program)[1].split())


@pytest.mark.slow
def test_the_rows_are_measured_and_a_second_start_runs_nothing(hub, kogpt2_folder, tmp_path):
    add_data_sets(hub)
    place = project(tmp_path / "project")
    env = hub_env(hub, None, tmp_path / "home") | {
        "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MODEL": kogpt2_folder, "OUT": str(tmp_path / "runs"),
        "FLAGS": "--max_steps 1 --max_new_tokens 4 --per_device_train_batch_size 4",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }  # fmt: skip
    for start in range(2):
        program = ["bash", "docs/what_to_expect.sh"]
        done = subprocess.run(program, cwd=place, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        assert ("step 1/1" in done.stdout) == (start == 0)
        for page in PAGES:
            cells = rows_of(place / "docs" / page)
            assert set(cells) == {"nsmc", "klue-nli", "korquad", "news"}
            for name, cell in cells.items():
                assert re.match(
                    r"[\d.]+( / [\d.]+)? \[[\d.]+, [\d.]+\], `.*run_\w+\.py .*`, commit \w+, [\d.]+ h on ", cell
                ), name
