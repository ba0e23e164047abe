"""The documentation: links lead somewhere, both languages say the same, flags exist, commands run."""

from __future__ import annotations

import contextlib
import csv
import json
import re
from collections import Counter
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from accelerate.commands.launch import launch_command_parser
from torch.distributed.run import get_args_parser

from tasks import TASKS, get_task
from tasks.arguments import command_line
from tasks.arguments.mixture import MixtureArguments
from tasks.mixture import Mixture
from tasks.reading.columns import parse_column_map
from tests.conftest import ROOT, run_main, write_rows
from tests.helpers.docs import KOREAN, PAGES, anchors, code_blocks, commands, headings, korean, links, name_of, prose
from tests.helpers.levels import quick
from tests.scripts.conftest import ROWS
from tests.scripts.test_run_chat import EXPORT

#: Pages in English that have to exist in Korean, too. CONTRIBUTING.md is for those who read the code, which is in English.
TRANSLATED = [page for page in PAGES if not page.name.endswith(KOREAN) and page.stem != "CONTRIBUTING"]
GUIDES = [page for page in PAGES if page.parent.name == "docs"]
SCRIPTS = sorted(path.stem for path in (ROOT / "scripts").glob("*.py"))
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=name_of)
EVERY_PAIR = pytest.mark.parametrize("page", TRANSLATED, ids=name_of)


def target(page: Path, link: str) -> tuple[Path, str]:
    """The file and the fragment that a link of a page leads to."""
    path, _, fragment = link.partition("#")
    return (page.parent / path).resolve() if path else page, fragment


def is_relative(link: str) -> bool:
    return not link.startswith(("https://", "http://"))


@EVERY_PAGE
def test_links_lead_somewhere(page):
    for link in filter(is_relative, links(page)):
        path, fragment = target(page, link)
        assert path.is_relative_to(ROOT) and path.exists(), link
        assert not fragment or fragment in anchors(path), link


def test_every_guide_is_linked_from_the_readme_of_its_language():
    for readme in (ROOT / "README.md", korean(ROOT / "README.md")):
        linked = {target(readme, link)[0] for link in filter(is_relative, links(readme))}
        assert {page for page in GUIDES if page.name.endswith(KOREAN) == readme.name.endswith(KOREAN)} <= linked


# Both languages


def test_no_korean_page_is_alone():
    assert {page for page in PAGES if page.name.endswith(KOREAN)} == {korean(page) for page in TRANSLATED}


def destination(page: Path, link: str) -> tuple[Path, int]:
    """Where a link leads, the same for the links of both languages: the English page, and the number of the heading."""
    path, fragment = target(page, link)
    number = anchors(path).index(fragment) if fragment else -1
    return path.with_name(path.name.replace(KOREAN, ".md")), number


@EVERY_PAIR
def test_both_languages_have_the_same_headings_code_links_and_tables(page):
    twin = korean(page)
    assert [level for level, _ in headings(page)] == [level for level, _ in headings(twin)]
    assert code_blocks(page) == code_blocks(twin)
    found = []
    for each in (page, twin):
        kept = [link for link in links(each) if target(each, link)[0] not in {page, twin} - {each}]  # not to the other one
        outside = [link for link in kept if not is_relative(link)]
        inside = [destination(each, link) for link in kept if is_relative(link)]
        rows = re.findall(r"^\|.*$", prose(each), re.M)
        figures = [Counter(re.findall(r"\d+(?:[.,]\d+)*", re.sub(r"\]\([^)]*\)", "", row))) for row in rows]
        found.append((Counter(outside), Counter(inside), figures))
    assert found[0] == found[1]


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_a_guide_begins_with_who_needs_it(page):
    title, first = re.match(r"# (.+)\n\n(.+(?:\n.+)*)\n\n", page.read_text("utf-8")).groups()
    assert title and ("분을 위한 문서입니다" if page.name.endswith(KOREAN) else "For anyone who") in first.replace("\n", " ")


@pytest.mark.parametrize("page", [page for page in PAGES if page.name.startswith("README")], ids=name_of)
def test_the_readme_is_short(page):
    assert len(page.read_text("utf-8").splitlines()) <= 150


def test_the_map_has_every_room():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    rooms = {path.parent for path in (ROOT / "tasks").glob("*/*.py")}
    assert {room.name for room in rooms if f"tasks/{room.name}/" not in text} == set()


# Flags and files


class Parsed(Exception):
    """The command line was read; the rest of the script is not run."""


def read_command_line(script: str, words: list[str], folder: Path):
    """Let a script read its command line, and no more. Returns how it ended where it did not take it, else None."""
    read = command_line.parse_dataclasses

    def only_read(*arguments, **settings):
        read(*arguments, **settings)
        raise Parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command_line, "parse_dataclasses", only_read)
        try:
            return run_main(script, tuple(words), "", folder)
        except Parsed:
            return None


@pytest.fixture(scope="module")
def flags() -> set[str]:
    """Every flag of a script of this project, of the programs beside the pages, of torchrun and of accelerate."""
    found = {flag for parser in (get_args_parser(), launch_command_parser()) for flag in parser._option_string_actions}

    def collect(parser, *arguments, **settings):
        found.update(parser._option_string_actions)
        raise Parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command_line._Parser, "parse_args_into_dataclasses", collect)
        for script in SCRIPTS:
            with contextlib.suppress(Parsed):
                run_main(script, (), "", ROOT)
    for program in (ROOT / "docs").glob("*.py"):
        found.update(re.findall(r'add_argument\("(--\w+)"', program.read_text("utf-8")))
    return found | {"--dataset_name"}  # of trl, which need not be installed


@EVERY_PAGE
def test_flags_and_files_exist(page, flags):
    text = page.read_text("utf-8")
    named = set(re.findall(r"(?<![\w<-])--[a-z][a-z0-9_]*", text))
    assert named - flags == set()
    files = set(re.findall(r"[a-zA-Z0-9_/.-]+\.(?:py|sh|yaml)(?![a-z])", text))
    tops = ("scripts/", "tasks/", "tests/", "configs/")
    assert {name for name in files if name.startswith(tops) and not (ROOT / name).is_file()} == set()
    assert {name for name in files if re.fullmatch(r"\w+\.py", name)} <= {f"{script}.py" for script in SCRIPTS}


def script_of(words: list[str]) -> int | None:
    """Where in a command the script of this project stands, if it is one."""
    return next((i for i, word in enumerate(words) if re.fullmatch(r"scripts/\w+\.py", word)), None)


def is_refused(result, words: list[str]) -> bool:
    """Whether a command was refused for want of bitsandbytes, which few machines of developers have."""
    lacks = "--load_in_4bit" in words and find_spec("bitsandbytes") is None
    return lacks and "needs bitsandbytes" in result.error


@EVERY_PAIR
def test_every_command_is_understood(page, tmp_path):
    for words in commands(page):
        place = script_of(words)
        if place is None:
            continue
        if words[0] == "torchrun":
            get_args_parser().parse_args(words[1:])
        if words[0] == "accelerate":
            launch_command_parser().parse_args(words[2:])
        result = read_command_line(Path(words[place]).stem, words[place + 1 :], tmp_path)
        assert result is None or is_refused(result, words), (words, result.stderr)


# Commands that one process runs, on rows and models of a second


def write_file(path: Path, task: str, names: dict[str, str]) -> None:
    """The rows of a task in the format that the path's ending says, its columns called as in ``names``."""
    rows = [{names.get(name, name): value for name, value in row.items()} for row in ROWS.get(task, ROWS["generate"])]
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".txt" and get_task(task).conversational:
        path.write_text(EXPORT, "utf-8")
    elif path.suffix == ".txt":
        path.write_text("".join(f"{row['text']}\n" for row in rows), "utf-8")
    elif path.suffix == ".json":  # KorQuAD's
        paragraphs = [
            {"context": row["context"], "qas": [{"id": str(number), "question": row["question"], "answers": [
                {"text": text, "answer_start": start} for text, start in zip(*row["answers"].values())
            ]}]}
            for number, row in enumerate(rows)
        ]  # fmt: skip
        path.write_text(json.dumps({"data": [{"title": "", "paragraphs": paragraphs}]}, ensure_ascii=False), "utf-8")
    else:
        write_rows(path, rows)


#: Values that take the place of a command's own. What is added to it stands in front, where its own flags override it.
SMALL = {
    "--max_steps": "2", "--eval_steps": "1", "--save_steps": "1", "--max_train_samples": "8", "--max_eval_samples": "4",
    "--model_size": "mini", "--vocab_size": "600", "--preprocessing_num_workers": "2", "--max_length": "128",
    "--tokens": "300", "--budget_hours": "0.00001",
}  # fmt: skip
TRAINING = (
    "--num_train_epochs", "1", "--max_new_tokens", "8", "--validation_split", "0.5", "--per_device_train_batch_size", "4",
)  # fmt: skip


#: Scripts that start processes of their own, which takes minutes, or serve until Ctrl-C.
PROCESSES = ("scripts/benchmark.py", "scripts/search.py", "scripts/demo.py")


class Reader:
    """Somebody who types the commands of a page one after the other into an empty folder."""

    def __init__(self, folder: Path, base: str):
        self.folder, self.base = folder, base

    def rows(self, words: list[str], task: str) -> None:
        """Have the files that a command reads."""
        given = dict(pairwise(words))
        if task == "tasks":
            mixture, flags = Mixture(), ("train_file", "validation_file", "column_map")
            mixture.choose(given["--tasks"])
            values = MixtureArguments(**{flag: given.get(f"--{flag}") for flag in flags}).of_parts(mixture)
            for part, own in zip(mixture.parts, values):
                self.rows([word for flag in flags for word in (f"--{flag}", getattr(own, flag)) if word], part.name)
            return
        names = parse_column_map(given.get("--column_map"), get_task(task))
        for flag in ("--train_file", "--validation_file", "--input_file"):
            if flag in given and not list(self.folder.glob(given[flag])):
                write_file(self.folder / given[flag].replace("*", "all"), task, names)

    def train(self, task: str, words: list[str]):
        """A run on eight rows."""
        made = "--model" in words and (self.folder / words[words.index("--model") + 1]).exists()  # by an earlier command
        small = SMALL if made else SMALL | {"--model": self.base}
        words = [small.get(before, word) for before, word in zip(["", *words], words)]
        added = [*TRAINING, *(("--n_positions", "64", "--vocab_size", "600") if task == "scratch" else ())]
        if {"--tokens", "--budget_hours"} & {*words}:
            added = added[2:]  # they say how long to train, as the epochs do
        if "--sample_data" in words:
            added += ["--max_eval_samples", "4"]
        elif "--train_file" not in words:
            names = words[words.index("--tasks") + 1].split(",") if task == "tasks" else []
            value = ",".join(f"{name}={name}.jsonl" for name in names) or f"{task}.jsonl"
            added += ["--train_file", value, "--validation_file", value]
        if "--output_dir" not in words:  # a page shows several ways, each of which leaves the folder of that name
            added += ["--overwrite_output_dir"]
        words = [*added, *words]
        self.rows(words, task)
        return run_main(f"run_{task}", tuple(words), "", self.folder)

    def use(self, script: str, words: list[str], stdin: str):
        """A command on a model, which is trained first where it is not there."""
        given = dict(pairwise(words))
        model, *rest = words
        run = self.folder / model
        task = given.get("--task") or next((name for name in TASKS if f"/{name}-" in model), None)
        if "--task" in given and not run.exists():
            model = self.base
        elif not run.exists():
            trained = self.train(task, ["--model", self.base, "--output_dir", model])
            assert trained.code == 0, trained.stderr
        task = task or json.loads((run / "task.json").read_text("utf-8"))["task"]
        added = []
        if script == "publish":
            added = ["--base_model", "skt/kogpt2-base-v2", "--dry_run"]
        elif script == "evaluate_model" and "--sample_data" in words:
            added = ["--max_eval_samples", "4"]
        elif script == "evaluate_model" and "--validation_file" not in words:
            added = ["--validation_file", f"{task}.jsonl"]
        elif script == "predict" and not stdin:
            stdin = "\t".join(ROWS[task][0][column.name] for column in get_task(task).input_columns)
        self.rows([*added, *rest], task)
        return run_main(script, (model, *added, *rest), stdin, self.folder)

    def compare(self, words: list[str]):
        """A comparison of runs, which are trained first."""
        for run in (word for word in words if word.startswith("outputs/")):
            trained = self.train(run.removeprefix("outputs/").split("-")[0], ["--model", self.base, "--output_dir", run])
            assert trained.code == 0, trained.stderr
        return run_main("compare", tuple(words), "", self.folder)


def runs_here(words: list[str]) -> bool:
    """Whether a command needs one process, no Hub and no minutes."""
    place = script_of(words)
    if place is None or words[place - 1] != "python" or words[place] in PROCESSES:
        return False
    return not {"--dataset", "--push_to_hub", "--benchmark"} & set(words)


#: Pages with commands that run here, and those of them that newcomers type first.
RUNNING = [page for page in TRANSLATED if any(map(runs_here, commands(page)))]
FIRST = [page for page in RUNNING if page.stem in ("README", "data", "chat")]


@pytest.mark.parametrize("page", quick(RUNNING, *FIRST), ids=name_of)
def test_the_commands_run(page, kogpt2_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.publishing.release.check_loads", lambda folder, staged: None)  # a process of its own
    reader = Reader(tmp_path, kogpt2_folder)
    for words in filter(runs_here, commands(page)):
        place = script_of(words)
        script = Path(words[place]).stem
        stdin = words[1] if words[0] == "echo" else ""
        if script.startswith("run_"):
            result = reader.train(script.removeprefix("run_"), words[place + 1 :])
        elif script == "compare":
            result = reader.compare(words[place + 1 :])
        else:
            result = reader.use(script, words[place + 1 :], stdin)
        assert result.code == 0 or is_refused(result, words), (words, result.stderr)
