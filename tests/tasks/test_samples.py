"""The bundled sample: it can be made again, its rows are right, and its splits share nothing that gives answers away."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tasks import get_task
from tasks.reading.columns import columns_of

SAMPLES = Path(__file__).resolve().parents[2] / "tasks" / "samples"
FILES = sorted(SAMPLES.glob("*/*.jsonl"))
#: A date, a time or a plain number: the values that the splits do not share.
VALUE = re.compile(r"\d+월 \d+일|\d+시(?: \d+분)?|\d[\d,]*")


@pytest.fixture
def module(monkeypatch):
    """Import a module of the generator, which lies beside the data and imports its siblings as a script does."""
    monkeypatch.syspath_prepend(str(SAMPLES))
    return importlib.import_module


def read(task: str, split: str) -> list[dict]:
    """The rows of one file."""
    with open(SAMPLES / task / f"{split}.jsonl", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def all_text(split: str) -> str:
    """Everything that one split says: the texts of all tasks that `scratch` learns from."""
    texts = get_task("scratch").sample_texts
    return "\n".join(row[column] for task, columns in texts.items() for row in read(task, split) for column in columns)


@pytest.mark.parametrize(
    ("word", "particle", "expected"),
    [
        ("민준", "은", "민준은"),
        ("지우", "은", "지우는"),
        ("책", "이", "책이"),
        ("학교", "이", "학교가"),
        ("물", "을", "물을"),
        ("사과", "을", "사과를"),
        ("형", "과", "형과"),
        ("누나", "과", "누나와"),
        ("집", "으로", "집으로"),
        ("서울", "으로", "서울로"),
        ("바다", "으로", "바다로"),
        ("교실", "은", "교실은"),
        ("학생", "이다", "학생이다"),
        ("의사", "이다", "의사다"),
        ("학생", "이었다", "학생이었다"),
        ("의사", "이었다", "의사였다"),
        ("3", "이", "3이"),
        ("2", "이", "2가"),
        ("7", "으로", "7로"),
        ("6", "으로", "6으로"),
        ("9", "은", "9는"),
        ("10", "을", "10을"),
        ("20", "으로", "20으로"),
        ("0", "은", "0은"),
        ("105", "과", "105와"),
        ("3,000", "으로", "3,000으로"),
        ("10,000", "이", "10,000이"),
        ("100,000,000", "이", "100,000,000이"),
        ("‘봄’", "을", "‘봄’을"),
        ("“바다”", "과", "“바다”와"),
    ],
)
def test_josa(module, word, particle, expected):
    assert module("josa").josa(word, particle) == expected


def test_josa_refuses_what_it_cannot_read(module):
    with pytest.raises(ValueError, match="cannot tell"):
        module("josa").josa("GPT", "은")
    with pytest.raises(ValueError, match="unknown particle"):
        module("josa").josa("책", "에게")


@pytest.mark.slow
def test_the_generator_writes_these_files_again(tmp_path):
    subprocess.run([sys.executable, str(SAMPLES / "make_samples.py"), str(tmp_path)], check=True)
    made = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.glob("*/*")}
    assert made.items() <= {str(path.relative_to(SAMPLES)): path.read_bytes() for path in FILES}.items()
    assert {f"{task}/train.jsonl" for task in ("generate", "summarize", "nli", "qa")} < set(made)


def test_the_sample_is_small():
    assert sum(path.stat().st_size for path in SAMPLES.glob("*/*.jsonl")) < 2_250_000


@pytest.mark.parametrize("task", sorted({path.parent.name for path in FILES}))
def test_rows_have_their_columns_and_no_source_stands_in_both_splits(task):
    source, *others = (column.name for column in columns_of(get_task(task)) if not column.optional)
    columns = {source, *others}
    train, validation = read(task, "train"), read(task, "validation")
    assert all(set(row) - {"id"} == columns for row in train + validation)
    assert not {str(row[source]) for row in train} & {str(row[source]) for row in validation}
    for rows in (train, validation):
        distinct = {json.dumps({key: row[key] for key in columns}, sort_keys=True) for row in rows}
        assert len(distinct) == len(rows), "a row stands twice"


def test_the_splits_share_no_names_and_places(module):
    slots = module("slots")
    for lists in (slots.PERSONS, slots.PLACES):
        assert not set(lists["train"]) & set(lists["validation"])
        assert set("".join(map("".join, lists["validation"]))) <= set("".join(map("".join, lists["train"])))


def test_names_and_places_of_validation_are_new(module):
    slots = module("slots")
    words = set(re.findall(r"[가-힣]+", all_text("train")))  # names begin a word; 강윤영은 does not hold the name 윤영은
    beginnings = {word[:length] for word in words for length in (2, 3)}
    new = {"".join(name) for name in slots.PERSONS["validation"]} | set(slots.PLACES["validation"])
    assert not beginnings & new
    written = {word[:3] for word in re.findall(r"[가-힣]+(?= 씨(?!름))", all_text("validation"))}
    assert written and written <= new


def test_numbers_dates_and_times_of_validation_are_new(module):
    split_of_number = module("slots").split_of_number
    values = {split: set(VALUE.findall(all_text(split))) for split in ("train", "validation")}
    assert not values["train"] & values["validation"]
    for split, found in values.items():
        assert found and {split_of_number(value) for value in found} == {split}


def test_validation_is_spelled_with_the_characters_of_training():
    assert not set(all_text("validation")) - set(all_text("train"))


def test_answers_stand_where_their_offset_says():
    for split in ("train", "validation"):
        for row in read("qa", split):
            answers = row["answers"]
            assert len(answers["text"]) == len(answers["answer_start"]) == 1
            for text, start in zip(answers["text"], answers["answer_start"], strict=True):
                assert row["context"][start : start + len(text)] == text


def test_labels_are_a_third_each():
    for split in ("train", "validation"):
        counts = Counter(row["label"] for row in read("nli", split))
        assert set(counts) == {"entailment", "neutral", "contradiction"}
        assert max(counts.values()) - min(counts.values()) <= 1


def hypothesis_pattern(hypothesis: str) -> str:
    """A hypothesis without its name and numbers: what a guesser that sees it alone could know again."""
    return VALUE.sub("#", re.sub(r"[가-힣]{3} 씨", "씨", hypothesis))


def test_the_hypothesis_alone_gives_the_label_away_as_often_as_the_readme_says():
    votes: dict[str, Counter] = defaultdict(Counter)
    for row in read("nli", "train"):
        votes[hypothesis_pattern(row["hypothesis"])][row["label"]] += 1
    validation = read("nli", "validation")
    right = sum(
        votes[pattern].most_common(1)[0][0] == row["label"]
        for row in validation
        if (pattern := hypothesis_pattern(row["hypothesis"])) in votes
    )
    assert 0.6 < right / len(validation) < 0.78


def test_the_words_of_the_hypothesis_give_the_label_away_no_more_often():
    """Naive Bayes over words, the plainest guesser that could find a telling word."""
    train, validation = read("nli", "train"), read("nli", "validation")
    counts = {label: Counter() for label in {row["label"] for row in train}}
    for row in train:
        counts[row["label"]].update(row["hypothesis"].split())

    def likelihood(label: str, words: list[str]) -> float:
        total = sum(counts[label].values())
        product = 1.0
        for word in words:
            product *= (counts[label][word] + 1) / (total + 1)
        return product

    guesses = [max(counts, key=lambda label: likelihood(label, row["hypothesis"].split())) for row in validation]
    right = sum(guess == row["label"] for guess, row in zip(guesses, validation, strict=True))
    assert 0.6 < right / len(validation) < 0.78


def test_no_first_question_of_validation_stands_in_training_and_many_answers_need_what_was_said_before():
    asked = {}
    for split in ("train", "validation"):
        talks = [[message for message in row["messages"] if message["role"] != "system"] for row in read("chat", split)]
        asked[split] = {talk[0]["content"] for talk in talks}
        assert all([message["role"] for message in talk] == ["user", "assistant"] * (len(talk) // 2) for talk in talks)
    assert not asked["train"] & asked["validation"]
    answers = defaultdict(set)
    for talk in talks:
        for question, answer in zip(talk[2::2], talk[3::2]):
            answers[question["content"]].add(answer["content"])
    assert sum(len(each) > 2 for each in answers.values()) >= 5


def test_the_first_sentence_is_not_the_summary():
    for split in ("train", "validation"):
        for row in read("summarize", split):
            lead = re.split(r"(?<=[.?!]) ", row["document"])[0]
            key_words = set(re.findall(r"[가-힣]{2,}|\d+", row["summary"]))
            assert len([word for word in key_words if word in lead]) <= len(key_words) / 4, row
