"""Prepared data: the same whatever prepares it, kept by content, never stale, never half."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import signal
import time
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import datasets
import pyarrow as pa
import pytest
from filelock import FileLock

from tasks import get_task
from tasks.arguments.data import DataArguments
from tasks.errors import UserError
from tasks.model.config import load_config
from tasks.model.tokenizer import load_tokenizer
from tasks.preparing import encoding, tables
from tasks.preparing import run_data as preparing
from tasks.preparing.encoding import Encoder
from tasks.preparing.run_data import RunData, cached
from tasks.preparing.splits import load_examples
from tasks.preparing.tables import ordered_map
from tests.conftest import model_args, with_separators, write_rows
from tests.helpers.task_rows import SAMPLED, WITH_SAMPLE

PLACES = ["도서관", "공원", "시청", "서울", "부산"]
LABELS = ["참", "중립", "모순"]


def rows_of(number, start=0):
    return [
        {"premise": f"{n} {PLACES[n % 5]}에서 책을 빌렸다.", "hypothesis": "비가 온다.", "label": LABELS[n % 3]}
        for n in range(start, start + number)
    ]


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """A cache of the test's own, and slices so small that a few rows are many of them."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(tables, "SLICE", 10)
    return tmp_path / "cache" / "korean-causal-lm-tasks"


@pytest.fixture
def files(tmp_path):
    return {
        "train_file": write_rows(tmp_path / "train.jsonl", rows_of(95)),
        "validation_file": write_rows(tmp_path / "validation.jsonl", rows_of(12, 1000)),
    }


@pytest.fixture
def prepare(kogpt2_folder, files):
    """Prepare the files as a run does; flags change what is asked for."""

    def run(task="nli", seed=42, splits=("train", "validation", "test"), length=64, new_tokens=8, tokenizer=None, **flags):
        task = get_task(task) if isinstance(task, str) else task
        arguments = model_args(kogpt2_folder)
        data = RunData(task, DataArguments(**(files | flags)), SimpleNamespace(seed=seed), splits)  # may learn labels
        tokenizer = tokenizer or with_separators(load_tokenizer(arguments, load_config(arguments)), task)[0]
        return *data.encode(Encoder(tokenizer, length, new_tokens)), data.counts

    return run


@pytest.fixture
def builds(monkeypatch):
    """A list that grows by the name of each split that is encoded."""
    seen = []
    encode = preparing.encode
    monkeypatch.setattr(preparing, "encode", lambda *args, **kw: seen.append(args[2]) or encode(*args, **kw))
    return seen


def content(prepared):
    found, examples, counts = prepared
    prompts = {split: [example.prompt_ids for example in rows] for split, rows in examples.items()}
    return {split: data[:] for split, data in found.items()}, examples, counts, prompts


def test_two_processes_give_the_rows_and_counts_of_one(prepare, tmp_path):
    rows = rows_of(57)
    rows[5]["label"] = rows[31]["label"] = "?"
    rows[40]["premise"] *= 30
    flags = {"train_file": write_rows(tmp_path / "rows.jsonl", rows), "skip_bad_rows": True, "overwrite_cache": True}
    one, two = (content(prepare(**flags, preprocessing_num_workers=number)) for number in (1, 2))
    assert one == two
    counts = one[2]["train"]
    assert [counts[name] for name in ("rows", "skipped", "skipped_unknown_label", "cut")] == [55, 2, 2, 1]
    assert counts["tokens"] == sum(map(len, one[0]["train"]["input_ids"]))
    assert len(one[0]["train"]["input_ids"]) == 55


def test_two_processes_name_the_first_bad_row(prepare, tmp_path):
    rows = rows_of(57)
    rows[55]["label"] = rows[31]["label"] = "?"
    path = write_rows(tmp_path / "rows.jsonl", rows)
    with pytest.raises(UserError, match=r"rows\.jsonl line 32: "):
        prepare(train_file=path, preprocessing_num_workers=2)


def test_rows_of_which_none_can_be_used_name_the_first_problem(prepare, tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", [row | {"label": "?"} for row in rows_of(3)])
    with pytest.raises(UserError, match=r"none of 3 rows can be used; the first problem: .*rows\.jsonl line 1: "):
        prepare(train_file=path, skip_bad_rows=True)


def _die(item):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_ends_the_run_with_one_line():
    with pytest.raises(UserError, match="one of the 2 processes that prepare the rows was ended from outside"):
        list(ordered_map(_die, range(3), 2))


def test_few_items_are_ahead_of_the_one_in_hand():
    taken = []
    results = ordered_map(str, (taken.append(n) or n for n in range(1000)), 2)
    assert [next(results) for _ in range(3)] == ["0", "1", "2"]
    assert len(taken) < 20
    results.close()


def test_a_prompt_that_does_not_fit_is_found_while_preparing(prepare):
    with pytest.raises(UserError, match=r"row validation-0: the prompt has .* tokens that may not be cut"):
        prepare(length=12)


def spelled(row, form):
    return row | {name: unicodedata.normalize(form, row[name]) + " " for name in ("premise", "hypothesis")}


@pytest.mark.parametrize("processes", [1, 2])
def test_rows_that_stand_in_training_too_are_counted_and_printed(prepare, tmp_path, capsys, processes):
    """Whatever their label, their spelling and their place; of a second start as well."""
    train = rows_of(57)
    validation = [train[3], spelled(train[31], "NFD"), train[56] | {"label": "참"}, train[56], *rows_of(2, 1000)]
    validation.append(train[7] | {"hypothesis": "날씨가 맑다."})  # a premise alone is not the input
    flags = {
        "train_file": write_rows(tmp_path / "train.jsonl", train),
        "validation_file": write_rows(tmp_path / "validation.jsonl", validation),
        "test_file": write_rows(tmp_path / "test.jsonl", rows_of(3, 56)),
        "preprocessing_num_workers": processes,
    }
    for _ in range(2):
        counts = prepare(**flags)[2]
        assert [counts[split].get("shared_with_train") for split in ("train", "validation", "test")] == [None, 4, 1]
        assert capsys.readouterr().out == "rows to measure on that training reads too: 4 of 7 validation, 1 of 3 test\n"
    assert prepare(**flags, max_train_samples=30)[2]["validation"]["shared_with_train"] == 3  # what is read counts
    assert "shared_with_train" not in prepare(**flags, splits=("validation", "test"))[2]["validation"]
    assert capsys.readouterr().out == "rows to measure on that training reads too: 3 of 7 validation, 1 of 3 test\n"


def test_counts_and_choices_of_reading_are_those_of_a_second_start_too(kogpt2_folder, tmp_path):
    rows = [{"전제": "비가 온다.", "hypothesis": "비가 내린다.", "label": number} for number in (0, 1, 7)]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    task = get_task("nli")
    arguments = model_args(kogpt2_folder)
    encoder = Encoder(with_separators(load_tokenizer(arguments, load_config(arguments)), task)[0], 64, 8)
    flags = DataArguments(train_file=path, validation_file=path, skip_bad_rows=True)
    for _ in range(2):
        data = RunData(task, flags, SimpleNamespace(seed=42), ("train", "validation"))
        data.encode(encoder)
        for counts in data.counts.values():
            found = {name: counts[name] for name in ("rows", "skipped", "numbers_read_as_text", "label neutral")}
            assert found == {"rows": 2, "skipped": 1, "numbers_read_as_text": 3, "label neutral": 1}
        assert data.source.choices == ["rows.jsonl: premise = 전제"]


def test_a_bad_row_is_neither_measured_nor_trained_on(prepare, tmp_path):
    rows = rows_of(4)
    train = write_rows(tmp_path / "train.jsonl", [rows[0] | {"label": "?"}, *rows[1:]])
    validation = write_rows(tmp_path / "validation.jsonl", [*rows[:2], rows[2] | {"label": "?"}])
    counts = prepare(train_file=train, validation_file=validation, skip_bad_rows=True)[2]
    assert (counts["validation"]["rows"], counts["validation"]["shared_with_train"]) == (2, 1)


def test_no_row_of_a_share_is_trained_on(prepare, tmp_path):
    rows = rows_of(40)
    path = write_rows(tmp_path / "rows.jsonl", [*rows, *(spelled(row, "NFD") for row in rows), *rows])
    found, examples, counts = prepare(train_file=path, validation_file=None, validation_split=0.2)
    assert (counts["train"]["rows"], counts["validation"]["rows"]) == (96, 24)
    assert counts["validation"]["shared_with_train"] == 0
    assert len(found["train"]) == 96
    assert len({unicodedata.normalize("NFC", e.source_text).strip() for e in examples["validation"]}) == 8


@pytest.mark.parametrize("task", SAMPLED)
def test_the_samples_share_no_row(prepare, task):
    counts = prepare(task=task, train_file=None, validation_file=None, sample_data=True, length=128)[2]
    assert counts["validation"]["shared_with_train"] == 0


def test_a_second_start_reads_no_rows_and_has_the_same(prepare, builds, monkeypatch):
    first = content(prepare())
    assert builds == ["validation", "train"]
    monkeypatch.setattr(preparing, "load_raw_datasets", None)
    found = prepare()
    assert content(found) == first
    assert builds == ["validation", "train"]
    assert all(data.cache_files for data in found[0].values())  # memory-mapped


class Learned(type(get_task("nli"))):
    learned_baseline = True


def test_a_baseline_that_learns_gets_the_training_examples(prepare, tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", [*rows_of(25), rows_of(1)[0] | {"label": "?"}])
    for _ in range(2):  # a second start, too, which encodes nothing
        train = prepare(task=Learned(), train_file=path, skip_bad_rows=True)[1]["train"]
        assert [example.id for example in train] == [f"train-{n}" for n in range(25)]
        assert train[3:4][0].references == ("entailment",)
    assert "train" not in prepare()[1]
    assert "train" not in prepare(task=Learned(), splits=("validation", "test"))[1]


@pytest.mark.parametrize("task", WITH_SAMPLE)
def test_rows_to_measure_on_are_kept_with_their_prompts(prepare, kogpt2_folder, monkeypatch, task):
    own = get_task(task)
    kept = prepare(task=own, train_file=None, validation_file=None, sample_data=True, length=48)[1]["validation"]
    formatted = load_examples(own, DataArguments(sample_data=True), seed=42, splits=("validation",))[0]["validation"]
    assert kept == formatted
    arguments = model_args(kogpt2_folder)
    tokenizer, _ = with_separators(load_tokenizer(arguments, load_config(arguments)), own)
    encoder = Encoder(tokenizer, 48, 8)
    expected = encoder.prompts(formatted)
    monkeypatch.setattr(encoder, "tokenize", lambda texts, offsets=False: ([], []))  # no text reaches the tokenizer again
    assert encoder.prompts(kept) == expected
    assert all(example.prompt_ids for example in kept)


def test_the_cache_gives_what_there_is_without_one(prepare, folder):
    with_cache = content(prepare())
    folder.parent.rename(folder.parent.with_name("old"))
    folder.parent.write_text("a file where the cache should be")
    assert content(prepare()) == with_cache


def same_size(path, old, new):
    """Change bytes of a file behind the back of its size and time."""
    before = os.stat(path)
    text = Path(path).read_text("utf-8")
    assert old in text
    Path(path).write_text(text.replace(old, new, 1), "utf-8")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(path).st_size == before.st_size


class Another(type(get_task("nli"))):
    version = 2


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 7}, {"length": 63}, {"new_tokens": 7}, {"max_train_samples": 20}, {"max_eval_samples": 3},
        {"column_map": "premise=hypothesis,hypothesis=premise"}, {"skip_bad_rows": True}, {"validation_split": 0.1},
        {"splits": ("validation", "test")}, {"task": Another()}, {"validation_file": None},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_any_other_flag_is_prepared_anew(prepare, builds, change):
    prepare()
    builds.clear()
    prepare(**change)
    assert builds
    builds.clear()
    prepare(**change)
    prepare()
    assert not builds


def test_another_byte_of_a_file_is_prepared_anew(prepare, builds, files):
    prepare()
    for name, old, new in (("train_file", "도서관", "도시관"), ("validation_file", "온다", "간다")):
        builds.clear()
        same_size(files[name], old, new)
        found, _, _ = prepare()
        assert builds == ["validation", "train"]
        assert found["train"]


def test_another_tokenizer_or_program_is_prepared_anew(prepare, builds, kogpt2_folder, monkeypatch, tmp_path):
    prepare()
    builds.clear()
    copy = shutil.copytree(kogpt2_folder, tmp_path / "model")
    tokenizer = json.loads((copy / "tokenizer.json").read_text("utf-8"))
    tokenizer["model"]["merges"].pop()
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    arguments = model_args(str(copy))
    other, _ = with_separators(load_tokenizer(arguments, load_config(arguments)), get_task("nli"))
    prepare(tokenizer=other)
    assert len(builds) == 2
    programs = preparing._programs()
    for module in (encoding, tables):
        assert any(preparing.file_sha256(module.__file__) in part for part in programs if isinstance(part, list))
    monkeypatch.setattr(preparing, "_programs", lambda: [programs, "another version"])
    prepare()
    assert len(builds) == 4


def test_where_a_file_lies_and_how_many_processes_read_it_change_nothing(prepare, builds, files, tmp_path):
    prepare()
    builds.clear()
    moved = shutil.copy(files["train_file"], tmp_path / "moved.jsonl")
    prepare(train_file=str(moved), preprocessing_num_workers=2)
    assert not builds
    prepare(overwrite_cache=True)
    assert builds == ["validation", "train"]


@pytest.mark.parametrize("name", ["train.arrow", "examples.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["byte", "end", "gone"])
def test_a_damaged_entry_is_made_anew(prepare, builds, folder, name, damage):
    first = content(prepare())
    builds.clear()
    path = next(folder.glob(f"*/{name}"))
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data if damage == "byte" else data[:-3])
    assert content(prepare()) == first
    assert builds == ["validation", "train"]
    assert path.exists()


def test_what_a_killed_process_left_is_not_taken_and_goes(prepare, folder, monkeypatch):
    with monkeypatch.context() as patch:  # a kill runs no `finally`
        patch.setattr(preparing.shutil, "rmtree", lambda *args, **kw: None)
        patch.setattr(preparing.os, "replace", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare()
    assert [path.suffix for path in folder.iterdir() if path.is_dir()] == [".tmp"]
    other, mine = folder / "0a1b.x2y3.tmp", folder / "4c5d.x2y3.tmp"  # of other rows: left, and being written
    other.mkdir()
    mine.mkdir()
    with FileLock(folder / "4c5d.lock"):
        prepare()
    assert mine.is_dir() and not other.exists()
    mine.rmdir()
    assert [path.suffix for path in folder.iterdir() if path.is_dir()] == [""]


def test_a_full_disk_is_said_once_and_does_without(prepare, folder, monkeypatch, capsys):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    expected = content(prepare(overwrite_cache=True))
    shutil.rmtree(folder)
    monkeypatch.setattr(pa.ipc, "new_stream", full)
    assert content(prepare()) == expected
    notice = f"{folder} cannot be used to keep prepared data (No space left on device); going on without it\n"
    assert capsys.readouterr().err == notice
    assert [path.name for path in folder.iterdir() if path.is_dir()] == []


def test_files_that_change_while_they_are_read_are_refused(prepare, files, folder, monkeypatch):
    encode = preparing.encode

    def slow(*args, **kwargs):
        with open(files["train_file"], "a", encoding="utf-8") as file:
            file.write("\n")
        return encode(*args, **kwargs)

    monkeypatch.setattr(preparing, "encode", slow)
    with pytest.raises(UserError, match="the data files changed while they were read"):
        prepare()
    assert not list(folder.glob("*/manifest.json"))


def _build(folder, log):
    with open(log, "a", encoding="utf-8") as file:
        file.write("built\n")
    time.sleep(0.3)
    (folder / "data").write_text("whole", "utf-8")


def _want(log, queue):
    queue.put((cached("key", lambda folder: _build(folder, log)) / "data").read_text("utf-8"))


def test_of_processes_that_start_at_once_one_builds(tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=_want, args=(tmp_path / "log", queue)) for _ in range(3)]
    for process in processes:
        process.start()
    assert [queue.get(timeout=60) for _ in processes] == ["whole"] * 3
    for process in processes:
        process.join()
    assert (tmp_path / "log").read_text("utf-8") == "built\n"
