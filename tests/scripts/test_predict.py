"""predict.py: what goes in by file, standard input, command line and terminal, and what comes out."""

from __future__ import annotations

import errno
import io
import json
import os

import pytest

from tasks.inference.predicting import Predictor
from tests.conftest import write_rows

DOCUMENTS = ["민준이 도서관에서 책을 빌렸다. 날씨가 맑다.", "비가 온다.", "서울은 대한민국의 수도이다."]


def rows(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def by_stdin(run_once, finished):
    result = run_once("predict", finished("summarize"), stdin="".join(f"{text}\n" for text in DOCUMENTS))
    assert result.code == 0, result.stderr
    return rows(result.stdout)


def test_standard_input_is_answered_in_its_order(by_stdin):
    assert [set(row) - {"scores"} for row in by_stdin] == [{"id", "document", "prediction"}] * 3
    assert all(row.get("scores", {"unfinished": True}) == {"unfinished": True} for row in by_stdin)
    assert [row["document"] for row in by_stdin] == DOCUMENTS
    assert [row["id"] for row in by_stdin] == ["row-0", "row-1", "row-2"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "txt"])
def test_files_of_every_type_are_answered_as_standard_input_is(run_script, finished, by_stdin, tmp_path, suffix):
    path = tmp_path / f"in.{suffix}"
    if suffix == "csv":
        path.write_text("document\n" + "".join(f'"{text}"\n' for text in DOCUMENTS), "utf-8")
    elif suffix == "jsonl":
        write_rows(path, [{"document": text} for text in DOCUMENTS])
    else:
        path.write_text("\n".join(DOCUMENTS), "utf-8")
    result = run_script("predict", finished("summarize"), "--input_file", path, "--batch_size", 1)
    assert rows(result.stdout) == by_stdin


def test_json_lines_on_standard_input_keep_their_id(run_script, finished):
    line = json.dumps({"id": 5, "document": DOCUMENTS[1]}, ensure_ascii=False)
    (row,) = rows(run_script("predict", finished("summarize"), stdin=line).stdout)
    assert (row["id"], row["document"]) == ("5", DOCUMENTS[1])


def test_two_columns_are_parted_by_a_tab_and_nli_answers_with_a_label(run_script, finished):
    result = run_script("predict", finished("nli"), stdin="비가 온다.\t날씨가 맑다.\n")
    (row,) = rows(result.stdout)
    assert (row["premise"], row["hypothesis"]) == ("비가 온다.", "날씨가 맑다.")
    assert row["prediction"] in ("entailment", "neutral", "contradiction")
    assert row["prediction"] == max(row["scores"], key=row["scores"].get)
    assert next(iter(row["probabilities"])) == row["prediction"] and row["calibrated"] is False
    assert row["probability"] == row["probabilities"][row["prediction"]]
    assert sum(row["probabilities"].values()) == pytest.approx(1)


def test_the_most_probable_labels(run_script, finished):
    flags = ("predict", finished("nli"), "--prompt", "비가 온다.\t날씨가 맑다.", "--top_labels", 2)
    (row,) = rows(run_script(*flags).stdout)
    assert len(row["probabilities"]) == 2 and len(row["scores"]) == 3
    text = run_script(*flags, "--output_format", "text").stdout
    assert text == ", ".join(f"{label} {p:.3f}" for label, p in row["probabilities"].items()) + "\n"
    refused = run_script("predict", finished("summarize"), "--prompt", "비가 온다.", "--top_labels", 2)
    assert refused.error == "--top_labels: summarize writes text, not labels; leave it out"


def test_one_prompt_on_the_command_line(run_script, finished, by_stdin):
    (row,) = rows(run_script("predict", finished("summarize"), "--prompt", DOCUMENTS[0]).stdout)
    assert row == by_stdin[0]


def test_an_output_file_is_json_lines_or_text_by_its_name(run_script, finished, by_stdin, tmp_path):
    write_rows(tmp_path / "in.jsonl", [{"document": text} for text in DOCUMENTS])
    for name in ("out.jsonl", "out.txt"):
        result = run_script(
            "predict", finished("summarize"), "--input_file", tmp_path / "in.jsonl", "--output_file", tmp_path / name
        )
        assert (result.code, result.stdout) == (0, "")
    assert rows((tmp_path / "out.jsonl").read_text("utf-8")) == by_stdin
    assert (tmp_path / "out.txt").read_text("utf-8") == "".join(" ".join(r["prediction"].split()) + "\n" for r in by_stdin)


def test_an_output_file_may_be_a_pipe_and_is_no_input(run_script, finished, by_stdin, tmp_path):
    given = write_rows(tmp_path / "in.jsonl", [{"document": text} for text in DOCUMENTS])
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    result = run_script("predict", finished("summarize"), "--input_file", given, "--output_file", tmp_path / "pipe")
    assert (result.code, result.stdout) == (0, "")
    assert rows(os.read(reader, 65536).decode("utf-8")) == by_stdin
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()

    (tmp_path / "link.jsonl").symlink_to(given)
    before = (tmp_path / "in.jsonl").read_bytes()
    for pattern in (given, tmp_path / "*.jsonl"):
        result = run_script(
            "predict", finished("summarize"), "--input_file", pattern, "--output_file", tmp_path / "link.jsonl"
        )
        assert (result.code, result.error) == (
            2,
            f"--output_file {tmp_path}/link.jsonl is read from, too; name another file, or the rows are lost",
        )
    assert (tmp_path / "in.jsonl").read_bytes() == before


def test_the_format_can_be_asked_for(run_script, finished, by_stdin):
    result = run_script("predict", finished("summarize"), "--prompt", DOCUMENTS[1], "--output_format", "text")
    assert result.stdout == " ".join(by_stdin[1]["prediction"].split()) + "\n"


def test_several_texts_for_one_input(run_script, finished):
    arguments = ("--prompt", "민준이", "--num_return_sequences", 3, "--temperature", 2.0, "--top_k", 0)
    (row,) = rows(run_script("predict", finished("generate"), *arguments).stdout)
    assert len(row["predictions"]) == 3
    assert row["prediction"] == row["predictions"][0]
    (again,) = rows(run_script("predict", finished("generate"), *arguments).stdout)
    assert again == row
    (other,) = rows(run_script("predict", finished("generate"), *arguments, "--seed", 7).stdout)
    assert other["predictions"] != row["predictions"]


def test_generation_flags_win_over_the_run(run_script, finished):
    # One token leaves room for one word piece at most; the run was measured with twelve.
    (short,) = rows(run_script("predict", finished("summarize"), "--prompt", DOCUMENTS[0], "--max_new_tokens", 1).stdout)
    (long,) = rows(
        run_script(
            "predict",
            finished("summarize"),
            "--prompt",
            DOCUMENTS[0],
            "--max_new_tokens",
            30,
            "--do_sample",
            "--temperature",
            5.0,
        ).stdout
    )
    assert len(short["prediction"]) < len(long["prediction"])


def test_an_empty_beginning_is_a_prompt_too(run_script, finished):
    result = run_script("predict", finished("generate"), stdin='{"text": ""}\n')
    assert result.code == 0, result.stderr
    assert len(rows(result.stdout)) == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_rows_are_typed_column_by_column_until_an_empty_line(run_once, finished, monkeypatch):
    typed, asked = iter(["비가 온다.", "날씨가 맑다.", "서울", "도시", ""]), []
    monkeypatch.setattr("builtins.input", lambda prompt: asked.append(prompt) or next(typed))
    result = run_once("predict", finished("nli"), stdin=Terminal())
    assert result.code == 0, result.stderr
    assert asked == ["premise: ", "hypothesis: "] * 2 + ["premise: "]
    assert len(result.stdout.split()) == 2
    assert set(result.stdout.split()) <= {"entailment", "neutral", "contradiction"}
    assert "nli: an empty line or Ctrl-D ends" in result.stderr


def test_ctrl_d_ends_a_terminal_session(run_once, finished, monkeypatch):
    def leave(prompt):
        raise EOFError

    monkeypatch.setattr("builtins.input", leave)
    result = run_once("predict", finished("summarize"), stdin=Terminal())
    assert (result.code, result.stdout) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--prompt", "가", "--input_file", "x.txt"), "--prompt and --input_file cannot go together; leave one out"),
        (("--prompt", "가", "--task", "translate"), "unknown task 'translate'; the tasks are generate, summarize, nli"),
        (("--input_file", "nowhere.csv"), "there is no file nowhere.csv"),
        (("--prompt", "가", "--num_return_sequences", 2), "several texts for one input differ only when sampled"),
        (("--prompt", "가", "--num_return_sequences", 0), "--num_return_sequences is 0; it must be 1 or more"),
        (("--prompt", "가", "--batch_size", 0), "--batch_size is 0; it must be 1 or more"),
        (("--prompt", "가", "--max_new_tokens", 500), "max_new_tokens 500 leaves no room for a prompt"),
        (("--prompt", "가", "--max_length", 500), "--max_length is 500; this model reads from 2 to 128 tokens"),
        (("--prompt", "가", "--top_p", 2), "--top_p is 2.0; it must be over 0 and at most 1"),
        (("--prompt", "가", "--output_file", "no/such/out.txt"), "--output_file no/such/out.txt: name a file in a folder"),
        ((), "standard input holds no rows to predict"),
    ],
)
def test_a_mistake_is_one_line(run_script, finished, arguments, message):
    result = run_script("predict", finished("summarize"), *arguments)
    assert (result.code, result.stdout) == (2, "")
    assert result.error.startswith(message)


def test_a_model_without_a_task_has_to_be_told_it(run_script, kogpt2_folder):
    result = run_script("predict", kogpt2_folder, "--prompt", "가")
    assert result.code == 2
    assert result.error == f"{kogpt2_folder}: no task.json there, so its task is not known; name it with --task"


def test_a_full_disk_keeps_the_output_that_was_there(run_script, finished, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "out.txt").write_text("yesterday\n", "utf-8")
    monkeypatch.setattr(os, "fsync", full)
    result = run_script("predict", finished("summarize"), "--prompt", "가", "--output_file", tmp_path / "out.txt")
    assert result.code == 2
    assert result.error.startswith(f"{tmp_path}/out.txt: No space left on device; nothing there was changed")
    assert (tmp_path / "out.txt").read_text("utf-8") == "yesterday\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]


def test_a_line_of_text_keeps_the_space_that_joins_it_to_its_prompt(run_script, finished, monkeypatch):
    monkeypatch.setattr(Predictor, "text", lambda self, prompt, ids: " 책을\n빌렸다.")
    result = run_script("predict", finished("generate"), "--prompt", "민준이", "--output_format", "text")
    assert result.stdout == " 책을 빌렸다.\n"
