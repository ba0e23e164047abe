"""``tasks.inference.load``: what predict.py writes, as Python objects."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tasks import get_task
from tasks.errors import UserError
from tasks.inference import load
from tests.conftest import ROOT, write_rows
from tests.helpers.task_rows import TRAINED
from tests.scripts.conftest import ROWS

FINISHED = sorted({*TRAINED, "generate"} & ROWS.keys())


@pytest.mark.parametrize("task", FINISHED)
def test_a_loaded_model_gives_what_predict_writes(task, finished, run_script, tmp_path):
    given = [{c.name: row[c.name] for c in get_task(task).input_columns} for row in ROWS[task][:3]]
    result = run_script("predict", finished(task), "--input_file", write_rows(tmp_path / "in.jsonl", given))
    written = [json.loads(line) for line in result.stdout.splitlines()]
    model = load(str(finished(task)))
    assert model(given) == written and len(written) == 3
    assert model(given[0]) == written[0]
    assert model([]) == []


@pytest.fixture(scope="module")
def qa(finished):
    return load(str(finished("qa")))


ROW = {key: ROWS["qa"][0][key] for key in ("context", "question")}


def test_other_names_of_columns_and_the_row_of_a_data_set_are_read(qa):
    (whole,) = qa([ROWS["qa"][0]])
    assert qa({"지문": ROW["context"], "질문": ROW["question"], "id": "a"}) == whole | {"id": "a"}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([ROW, ROW | {"titel": "x"}], "row 1: qa has no field 'titel'; it reads context, question"),
        ({"context": "비가 온다."}, "row 0: the field 'question' (the question) is missing; qa reads context, question"),
        (["비가 온다."], "row 0 is of type str; give a dict with context, question"),
        (
            [ROW, ROW | {"question": ""}],
            "row 1: column 'question' is empty; fill it, or drop such rows with --skip_bad_rows",
        ),
    ],
)
def test_what_is_wrong_with_a_row_is_said_in_a_line(qa, rows, said):
    with pytest.raises(UserError) as error:
        qa(rows)
    assert str(error.value) == said


def test_settings_of_loading_and_of_a_call(finished, qa):
    free = load(str(finished("qa")), extractive=True)
    assert free(ROW) == qa(ROW, extractive=True)
    assert free(ROW)["prediction"] in ROW["context"]
    generate = load(str(finished("generate")), num_return_sequences=2)
    several = generate({"text": "민준이"}, num_return_sequences=3, top_k=20, seed=7)
    assert len(several["predictions"]) == 3 and len(generate({"text": "민준이"})["predictions"]) == 2
    again = load(str(finished("generate")), num_return_sequences=3, top_k=20, seed=7)
    assert again({"text": "민준이"}) == several
    for settings, said in (
        ({"topk": 3}, "there is no setting 'topk'; those of decoding are max_new_tokens, "),
        ({"top_p": 2.0}, "--top_p is 2.0; it must be over 0 and at most 1"),
        ({"max_new_tokens": 500}, "max_new_tokens: prompts leave room for it"),
        ({"num_return_sequences": 2, "do_sample": False}, "several texts for one input differ only when sampled"),
    ):
        with pytest.raises(UserError) as error:
            qa(ROW, **settings)
        assert str(error.value).startswith(said)


def test_the_package_is_light():
    """Importing it for ``load`` brings no torch; that waits for the call."""
    code = "import sys, tasks.inference; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
