"""What a card knows of base model, data, machine and command, and what it must not know."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import datasets
import pytest
import torch

from tasks import TASKS, get_task, machine
from tasks.arguments.data import DataArguments
from tasks.arguments.model import ModelArguments, ScratchArguments
from tasks.arguments.publishing import PublishArguments
from tasks.arguments.training import TrainingArguments
from tasks.errors import UserError
from tasks.publishing import facts
from tasks.publishing.license import license_for
from tasks.publishing.report import Base, Data, RunReport
from tasks.publishing.run import shown_arguments
from tasks.publishing.secrets import find_private, find_secrets
from tasks.reading.sources import find_source
from tests.conftest import write_rows
from tests.helpers.full_report import ALL_TASKS, bare_report, card
from tests.helpers.task_rows import SAMPLED
from tests.helpers.tiny_run import edit_json

KOGPT2_CONFIG = {"created_date": "2021-04-28", "license": "CC-BY-NC-SA 4.0"}
HF = "hf_" + "aB3" * 12
KOGPT2 = Base("skt/kogpt2-base-v2", "skt/kogpt2-base-v2", license="cc-by-nc-sa-4.0")


def words_hash(folder: str) -> str:
    """The hash of the vocabulary of a model folder, without its tokens in <>."""
    vocabulary = json.loads(Path(folder, "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    words = sorted(word for word in vocabulary if not re.fullmatch("<.*>", word))
    return hashlib.sha256("\n".join(words).encode()).hexdigest()


def also(base: Base) -> dict:
    return {base.hub_id: base.license}


@pytest.fixture(autouse=True)
def somebody(monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "minsu")
    monkeypatch.setattr("socket.gethostname", lambda: "gpu-box-17.lab.example")


class TestBase:
    def test_kogpt2(self):
        assert facts.base_facts("skt/kogpt2-base-v2") == KOGPT2
        assert facts.base_facts("skt/kogpt2-base-v2", "v1") == dataclasses.replace(KOGPT2, revision="v1")
        assert facts.base_of(ModelArguments(), PublishArguments()) == KOGPT2

    def test_a_base_with_terms_of_its_own(self):
        base = facts.base_facts("LGAI-EXAONE/EXAONE-3.5-2.4B-Instruct")
        assert (base.license, base.license_name) == ("other", "exaone")
        assert base.license_link == "https://huggingface.co/LGAI-EXAONE/EXAONE-3.5-2.4B-Instruct/blob/main/LICENSE"

    def test_one_that_nobody_knows(self):
        # The tests are offline: nothing is cached of it.
        assert facts.base_facts("nobody/unknown-model") == Base("nobody/unknown-model", "nobody/unknown-model")
        for name in ("./no-such-folder/x", "/no/such", "a/b/c"):  # loading the model says what is wrong with it
            assert facts.base_facts(name).license is None

    def test_the_card_of_one_that_the_table_does_not_have(self, tmp_path, monkeypatch):
        (tmp_path / "README.md").write_text("---\nlicense: mit\nbase_model: a/b\n---\n", "utf-8")
        monkeypatch.setattr(facts, "find_file", lambda hub_id, name, revision: tmp_path / "README.md")
        assert facts.base_facts("nobody/unknown-model", "main") == Base(
            "nobody/unknown-model", "nobody/unknown-model", "main", license="mit"
        )

    def test_from_nothing(self):
        assert facts.base_of(ScratchArguments(), PublishArguments()) == Base(from_scratch=True)

    def test_a_folder_that_nothing_is_known_of(self, tmp_path):
        folder = tmp_path / "home" / "minsu" / "my-model"
        folder.mkdir(parents=True)
        assert facts.base_facts(str(folder)) == Base("my-model")
        assert facts.base_facts(str(folder) + "/") == Base("my-model")

    def test_a_folder_that_is_a_copy_of_a_hub_model(self, tmp_path):
        folder = tmp_path / "kogpt2-copy"
        folder.mkdir()
        (folder / "README.md").write_text("---\nlicense: mit\n---\n", "utf-8")
        arguments = ModelArguments(model=str(folder))
        assert facts.base_of(arguments, PublishArguments(base_model="skt/kogpt2-base-v2")) == KOGPT2

    @pytest.fixture
    def copy(self, kogpt2_folder, tmp_path, monkeypatch) -> Path:
        """A model folder with a vocabulary that the table knows, and nothing else to tell it by."""
        fingerprint = {"config": KOGPT2_CONFIG, "vocabulary": words_hash(kogpt2_folder)}
        monkeypatch.setitem(facts.FINGERPRINTS, "skt/kogpt2-base-v2", fingerprint)
        return Path(shutil.copytree(kogpt2_folder, tmp_path / "home" / "minsu" / "내 모델"))

    @pytest.mark.parametrize("told_by", ["vocabulary", "config", "card"])
    def test_a_copy_is_recognised(self, copy, told_by):
        if told_by == "config":
            edit_json(copy / "config.json", **KOGPT2_CONFIG, author="Heewon Jeon", vocab_size=7)
            (copy / "tokenizer.json").write_text("{", "utf-8")
        if told_by == "card":  # of the copy, as the Hub has it: a licence and no base
            (copy / "README.md").write_text("---\nlicense: cc-by-nc-sa-4.0\n---\n", "utf-8")
        found = facts.base_facts(str(copy))
        assert found == dataclasses.replace(KOGPT2, copy="내 모델")
        assert facts.base_of(ModelArguments(model=str(copy)), PublishArguments()) == found
        # The user's word counts, and what is known binds all the same.
        assert facts.base_facts(str(copy), hub_id="me/own") == Base("me/own", "me/own", also=also(KOGPT2))

    def test_what_is_no_copy(self, copy):
        edit_json(copy / "config.json", created_date="2021-05-06")  # another model with the same vocabulary
        assert facts.base_facts(str(copy)) == Base("내 모델")
        edit_json(copy / "config.json", **KOGPT2_CONFIG)
        (copy / "README.md").write_text("---\nlicense: mit\nbase_model: a/b\n---\n", "utf-8")
        assert facts.base_facts(str(copy)) == Base("내 모델", "a/b", license="mit")

    def test_a_model_from_nothing_is_no_copy(self, copy, gpt2_folder):
        assert facts.base_facts(gpt2_folder) == Base("gpt2")
        report = dataclasses.replace(bare_report("scratch"), base=Base(from_scratch=True))
        report.save(copy)
        report.config.save(copy)
        assert facts.base_facts(str(copy)) == Base("내 모델", from_scratch=True)

    def test_a_run_and_its_checkpoint_are_no_copies(self, copy, tmp_path):
        """They have the config of their base, and its vocabulary but for the slots that were given names."""
        report = dataclasses.replace(bare_report("nli"), base=facts.base_facts(str(copy)))
        run = Path(shutil.copytree(copy, tmp_path / "run" / "checkpoint-5"))
        text = (run / "tokenizer.json").read_text("utf-8")
        (run / "tokenizer.json").write_text(text.replace("<unused0>", "<sep>").replace("<unused1>", "<nli>"), "utf-8")
        report.config.save(run)
        assert facts.base_facts(str(run)) == dataclasses.replace(KOGPT2, name="checkpoint-5")
        report.save(run)
        assert facts.base_facts(str(run)) == dataclasses.replace(KOGPT2, name="checkpoint-5")

    def test_the_hubs_cache(self, copy):
        place = copy / "models--EleutherAI--polyglot-ko-1.3b" / "snapshots" / "0123abc"
        place.mkdir(parents=True)
        hub_id = "EleutherAI/polyglot-ko-1.3b"
        assert facts.base_facts(str(place)) == Base(hub_id, hub_id, "0123abc", license="apache-2.0")

    def test_the_licence_in_a_config(self, copy):
        edit_json(copy / "config.json", license="CC-BY  4.0", created_date="x")
        assert facts.base_facts(str(copy)) == Base("내 모델", license="cc-by-4.0")
        (copy / "README.md").write_text("---\nlicense: mit\n---\n", "utf-8")
        assert facts.base_facts(str(copy)) == Base("내 모델", license="mit")
        for broken in ("{", "[]", '{"license": ["mit"]}', '{"license": "see the page"}'):
            (copy / "README.md").unlink(missing_ok=True)
            (copy / "config.json").write_text(broken, "utf-8")
            (copy / "tokenizer.json").write_text('{"model": {"vocab": [["a", 0.5]]}}', "utf-8")
            assert facts.base_facts(str(copy)) == Base("내 모델")

    def test_an_adapter_needs_the_users_word(self, copy):
        found = facts.base_facts(str(copy))
        with pytest.raises(UserError) as caught:
            facts.adapter_base(found)
        assert str(caught.value) == (
            "the base of this adapter is the local model '내 모델', which nobody else has; name the Hub id that it is a "
            "copy of by --base_model (it looks like skt/kogpt2-base-v2), publish the base first and train on it, or train "
            "with --merge_adapter"
        )
        assert facts.adapter_base(facts.base_facts(str(copy), hub_id="skt/kogpt2-base-v2")) == "skt/kogpt2-base-v2"

    def test_a_folder_with_a_card(self, tmp_path):
        folder = tmp_path / "downloaded"
        folder.mkdir()
        for front, known in (
            ("license: apache-2.0\nbase_model: a/b", {"license": "apache-2.0", "hub_id": "a/b"}),
            ("license: other\nlicense_name: x\nlicense_link: https://x.example\nbase_model:\n- a/b\n- c/d",
             {"license": "other", "license_name": "x", "license_link": "https://x.example", "hub_id": "a/b"}),
            ("license: [mit]\nbase_model: 5", {}),
            ("base_model: []", {}),
            ("- a", {}),
            ("a: [", {}),
            ("a: 2024-13-45", {}),
            ("", {}),
        ):  # fmt: skip
            (folder / "README.md").write_text(f"---\n{front}\n---\n# x\n", "utf-8")
            assert facts.base_facts(str(folder)) == Base("downloaded", **known)
        (folder / "README.md").write_bytes(b"\xff\xfe no card")
        assert facts.base_facts(str(folder)) == Base("downloaded")

    def test_a_folder_of_an_earlier_run_knows_where_it_came_from(self, tmp_path):
        first, second = tmp_path / "generate-run", tmp_path / "summarize-run"
        for folder, base in ((first, dataclasses.replace(KOGPT2, revision="v1")), (second, None)):
            folder.mkdir()
            report = dataclasses.replace(bare_report("generate"), base=base or facts.base_facts(str(first)))
            report.config.save(folder)
            report.save(folder)
        assert facts.base_facts(str(first)) == dataclasses.replace(KOGPT2, name="generate-run", revision="v1")
        assert facts.base_facts(str(second)) == dataclasses.replace(KOGPT2, name="summarize-run", revision="v1")
        # What it was published under may be stricter than what its base asks for.
        (second / "README.md").write_text("---\nlicense: cc-by-nc-nd-4.0\n---\n", "utf-8")
        assert facts.base_facts(str(second)).license == "cc-by-nc-nd-4.0"

        (second / "README.md").write_text("---\nlicense: mit\n---\n", "utf-8")  # and never laxer
        base = facts.base_facts(str(second))
        assert (base.license, base.also) == ("mit", also(KOGPT2))

    @pytest.mark.parametrize("model", ["skt/kogpt2-base-v2", "copy"])
    @pytest.mark.parametrize("given", [None, "mit", "apache-2.0"])
    def test_a_laxer_base_model_does_not_free_a_known_one(self, copy, model, given):
        base = facts.base_facts(str(copy) if model == "copy" else model, hub_id="openai-community/gpt2")
        with pytest.raises(UserError, match=r"comes of skt/kogpt2-base-v2 too, which is under cc-by-nc-sa-4\.0, and"):
            license_for(base, None, PublishArguments(license=given))
        assert license_for(base, None, PublishArguments(license="cc-by-nc-sa-4.0")) == "cc-by-nc-sa-4.0"

    @pytest.mark.parametrize("bases", ["skt/kogpt2-base-v2", "\n- gpt2\n- skt/kogpt2-base-v2"])
    def test_all_bases_of_a_card_count(self, tmp_path, monkeypatch, bases):
        (tmp_path / "README.md").write_text(f"---\nlicense: mit\nbase_model: {bases}\n---\n", "utf-8")
        monkeypatch.setattr(facts, "find_file", lambda hub_id, name, revision: tmp_path / "README.md")
        for base in (facts.base_facts("me/merged"), facts.base_facts(str(tmp_path))):
            assert (base.license, base.also) == ("mit", also(KOGPT2))
            with pytest.raises(UserError, match="drops non-commercial, share-alike; name a --license that both allow"):
                license_for(base, None, PublishArguments())
            report = dataclasses.replace(bare_report("nli"), base=dataclasses.replace(base, hub_id="gpt2"))
            text = card(report, tmp_path, license="cc-by-nc-sa-4.0")
            assert "base_model:\n- gpt2\n- skt/kogpt2-base-v2\n" in text
            assert "Based on [KoGPT2]" in text
        (tmp_path / "README.md").write_text("---\nlicense: mit\nbase_model: [gpt2, kakaobrain/kogpt]\n---\n", "utf-8")
        with pytest.raises(
            UserError, match=r"kakaobrain/kogpt is under cc-by-nc-nd-4\.0, which forbids sharing adaptations"
        ):
            license_for(facts.base_facts(str(tmp_path)), None, PublishArguments())

    def test_without_a_report_the_base_is_that_of_task_json_or_publishing_stops(self, copy, gpt2_folder, tmp_path):
        for name, expected in (("skt/kogpt2-base-v2", KOGPT2), ("my-model", KOGPT2)):  # the second by its vocabulary
            dataclasses.replace(bare_report("nli").config, base_model=name).save(copy)
            assert facts.load_report(copy).base == expected
        other = Path(shutil.copytree(gpt2_folder, tmp_path / "other"))
        for name in ("my-model", "outputs/my-model"):
            dataclasses.replace(bare_report("nli").config, base_model=name).save(other)
            with pytest.raises(UserError, match=rf"run_report\.json is missing, and .* the base '{name}' is; put that file"):
                facts.load_report(other)
            assert facts.load_report(other, "skt/kogpt2-base-v2").base == KOGPT2

    def test_a_folder_of_a_run_from_nothing(self, tmp_path):
        report = dataclasses.replace(bare_report("scratch"), base=Base(from_scratch=True))
        report.config.save(tmp_path)
        report.save(tmp_path)
        assert facts.base_facts(str(tmp_path)) == Base(tmp_path.name, from_scratch=True)


def data_of(task: str, arguments: DataArguments) -> Data:
    """What the card of a run with these arguments would say of its rows."""
    return facts.data_facts(get_task(task), arguments, find_source(get_task(task), arguments, ()))


@pytest.fixture
def any_dataset(monkeypatch):
    """A Hub that has every dataset, with rows to train and to measure on."""
    names = {"train", "validation"} | {task.default_dataset.validation_split or "train" for task in TASKS.values()}
    parts = {name: datasets.Dataset.from_dict({"x": [n]}) for n, name in enumerate(sorted(names))}
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: datasets.DatasetDict(parts))


class TestData:
    def test_files(self, tmp_path, monkeypatch):
        folder = tmp_path / "home" / "minsu"
        folder.mkdir(parents=True)
        for name, text in (("a.jsonl", '{"x": 1}\n'), ("b.jsonl", "\n"), ("val.csv", "가\n")):
            (folder / name).write_bytes(text.encode())
        arguments = DataArguments(train_file=str(folder / "*.jsonl"), validation_file=str(folder / "val.csv"))
        expected = Data(
            "files",
            files=[
                {"split": "train", "name": "a.jsonl", "bytes": 9,
                 "sha256": "936353965b4ba9180e3acb781d81aa634390ac95fd2874a9cbc4c4846b49fbd4"},
                {"split": "train", "name": "b.jsonl", "bytes": 1,
                 "sha256": "01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b"},
                {"split": "validation", "name": "val.csv", "bytes": 4,
                 "sha256": "bd11c1e19b82e8495d553c142a6ba622cf4484df0781ed5ce6400fb67cd92d4d"},
            ],
        )  # fmt: skip
        assert data_of("nli", arguments) == expected
        monkeypatch.setenv("HOME", str(folder))
        assert data_of("nli", dataclasses.replace(arguments, train_file="~/*.jsonl")) == expected

    def test_a_large_file_is_hashed_whole(self, tmp_path):
        content = bytes(range(256)) * 8192 + b"end"
        (tmp_path / "x.txt").write_bytes(content)
        data = data_of("generate", DataArguments(train_file=str(tmp_path / "x.txt")))
        assert data.files[0]["sha256"] == hashlib.sha256(content).hexdigest()
        assert data.files[0]["bytes"] == len(content)

    def test_the_share_that_was_set_aside(self, tmp_path, any_dataset):
        path = write_rows(tmp_path / "x.jsonl", [{"text": "x"}])

        def share(**arguments) -> float | None:
            return data_of("generate", DataArguments(validation_split=0.1, **arguments)).validation_share

        assert share(train_file=path) == 0.1
        assert share(train_file=path, test_file=path) == 0.1
        assert share(train_file=path, validation_file=path) is None
        assert share(test_file=path) is None
        assert share() == 0.1  # wikipedia has no validation rows
        assert data_of("nli", DataArguments()).validation_share is None  # klue has

    @pytest.mark.parametrize("task", ALL_TASKS)
    def test_the_tasks_own_data_set(self, task, any_dataset):
        own = get_task(task).default_dataset
        data = data_of(task, DataArguments(dataset_revision="abc"))
        assert (data.source, data.name, data.config, data.revision) == ("hub", own.id, own.config, "abc")
        assert data.license == own.license

    def test_another_data_set(self, any_dataset):
        known = data_of("nli", DataArguments(dataset="kakaobrain/kor_nli", dataset_config="multi_nli"))
        assert known == Data("hub", "kakaobrain/kor_nli", "multi_nli", license="cc-by-sa-4.0")
        assert data_of("nli", DataArguments(dataset="me/rows")) == Data("hub", "me/rows")

    def test_a_folder(self, tmp_path, any_dataset):
        folder = tmp_path / "minsu" / "rows"
        folder.mkdir(parents=True)
        assert data_of("nli", DataArguments(dataset=str(folder))) == Data("folder", "rows")

    def test_the_sample(self):
        for task in [*SAMPLED, "scratch"]:
            data = data_of(task, DataArguments(sample_data=True))
            assert data == Data("sample", f"{task} sample", license="cc0-1.0")

    def test_the_licence_before_anything_is_read(self, tmp_path):
        assert facts.data_license(get_task("qa"), DataArguments()) == "cc-by-nd-4.0"
        assert facts.data_license(get_task("qa"), DataArguments(sample_data=True)) == "cc0-1.0"
        for split in ("train", "validation", "test"):
            assert facts.data_license(get_task("qa"), DataArguments(**{f"{split}_file": "no-such-file"})) is None


class TestGit:
    @pytest.fixture
    def repository(self, tmp_path, monkeypatch):
        monkeypatch.setattr(facts, "ROOT", tmp_path.resolve())
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
        (tmp_path / "a.py").write_text("1\n", "utf-8")
        for arguments in (
            ["init", "-q"],
            ["add", "a.py"],
            ["-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-q", "-m", "x"],
        ):
            subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
        return tmp_path

    def head(self, folder: Path) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()

    def test_commit(self, repository):
        assert facts.git_commit() == self.head(repository)
        assert len(facts.git_commit()) == 40

    def test_changed_files_are_told_and_new_ones_are_not(self, repository):
        (repository / "outputs").mkdir()
        (repository / "outputs" / "x").touch()
        assert facts.git_commit() == self.head(repository)
        (repository / "a.py").write_text("2\n", "utf-8")
        assert facts.git_commit() == self.head(repository) + "-dirty"

    def test_inside_of_somebody_elses_repository(self, repository, monkeypatch):
        (repository / "site-packages").mkdir()
        monkeypatch.setattr(facts, "ROOT", (repository / "site-packages").resolve())
        assert facts.git_commit() is None

    def test_no_repository(self, tmp_path, monkeypatch):
        monkeypatch.setattr(facts, "ROOT", tmp_path.resolve())
        assert facts.git_commit() is None

    def test_a_repository_without_a_commit(self, tmp_path, monkeypatch):
        monkeypatch.setattr(facts, "ROOT", tmp_path.resolve())
        subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True)
        assert facts.git_commit() is None

    def test_no_git(self, repository, monkeypatch):
        monkeypatch.setenv("PATH", "")
        assert facts.git_commit() is None


class TestHardware:
    def test_in_words(self, tmp_path):
        def words(language: str = "en", **known) -> str:
            text = card(dataclasses.replace(bare_report("qa"), hardware=known), tmp_path, card_language=language)
            return next((line for line in text.splitlines() if line.startswith(("- Machine", "- 장비"))), "")

        assert words() == ""
        assert words(processes=1, system="Linux", processor="AMD EPYC", cores=2) == "- Machine: AMD EPYC, 2 cores, Linux"
        assert words(processes=2, cores=4) == "- Machine: 4 cores, 2 processes"
        assert words(processes=2, accelerator="H100", accelerator_memory_gib=79) == "- Machine: 2 x H100 (79 GiB)"
        assert words(accelerator="mps", system="Darwin") == "- Machine: 1 x mps, Darwin"
        assert words("ko", processes=2, cores=4, system="Linux") == "- 장비: 코어 4개, 프로세스 2개, Linux"


class TestCommand:
    def test_without_folders(self):
        assert facts.command(
            [
                "/home/minsu/work/scripts/run_nli.py", "--model", "~/models/kogpt2", "--train_file=/home/minsu/새 글.csv",
                "--validation_file", r"C:\Users\minsu\val.csv", "--output_dir", "outputs/nli", "--config=/x/y.yaml",
                "--dataset", "klue/klue", "--column_map", "premise=a,hypothesis=b",
            ]
        ) == (
            "python scripts/run_nli.py --model kogpt2 '--train_file=새 글.csv' --validation_file val.csv --output_dir "
            "outputs/nli --config=y.yaml --dataset klue/klue --column_map premise=a,hypothesis=b"
        )  # fmt: skip

    def test_without_the_users_name(self):
        assert facts.command(["run_qa.py", "--output_dir", "../../home/minsu/qa", "--model=runs/minsu/base"]) == (
            "python scripts/run_qa.py --output_dir qa --model=base"
        )
        assert facts.command(["run_qa.py", "--hub_model_id", "minsu/kogpt2-qa"]) == (
            "python scripts/run_qa.py --hub_model_id minsu/kogpt2-qa"  # a repository is meant to be seen
        )
        assert "minsu" not in facts.command(["run_qa.py", "--run_name", "minsu", "--train_file", "minsu@lab.example/x.csv"])

    def test_without_secrets(self):
        words = ["run_qa.py", "--run_name", HF, f"--project=key-{HF}", "--config", f"https://minsu:{HF}@x.example/c.yaml"]
        command = facts.command(words)
        assert command == "python scripts/run_qa.py --run_name '***' '--project=***' --config '***'"
        assert find_secrets(command) == find_private(command) == []

    def test_processes_and_no_arguments(self, monkeypatch):
        words = ["python", "-m", "accelerate.commands.launch", "--config_file", "/home/minsu/fsdp.yaml", "--main_process_ip",
                 "10.0.0.7", "scripts/run_qa.py", "--sample_data"]  # fmt: skip
        launched = "accelerate launch --config_file fsdp.yaml --main_process_ip HOST scripts/run_qa.py --sample_data"
        for start in (words, ["python", "/home/minsu/bin/accelerate", "launch", *words[3:]]):
            parent = SimpleNamespace(cmdline=lambda start=start: start)
            monkeypatch.setattr("psutil.Process.parents", lambda self, parent=parent: [parent])
            assert facts.command(["scripts/run_qa.py", "--sample_data"], 2) == launched
        monkeypatch.undo()
        assert facts.command(["scripts/run_qa.py"], 4) == "torchrun --nproc_per_node 4 scripts/run_qa.py"
        assert facts.command(["scripts/run_qa.py"]) == "python scripts/run_qa.py"

    def test_a_copy_is_typed_as_the_model_that_others_have(self):
        copy = dataclasses.replace(KOGPT2, copy="내 모델")
        for flag, typed in (
            ("--model '내 모델'", "--model skt/kogpt2-base-v2"),
            ("'--model=내 모델'", "--model=skt/kogpt2-base-v2"),
            ("--model ./models/kogpt2", "--model skt/kogpt2-base-v2"),
            ("--model skt/kogpt2-base-v2", "--model skt/kogpt2-base-v2"),
        ):
            command = "torchrun --nproc_per_node 2 scripts/run_nli.py {} --train_file '*.csv' --run_name '***'"
            for base in (copy, KOGPT2):
                assert facts.repeatable(command.format(flag), base) == command.format(typed)
        command = "python scripts/run_nli.py --model_revision x --base_model a/b --train_file --model"
        assert facts.repeatable(command, copy) == command
        for base in (dataclasses.replace(KOGPT2, name="generate-run"), Base("generate-run"), Base(from_scratch=True)):
            assert facts.repeatable("python x.py --model generate-run", base) == "python x.py --model generate-run"

    def test_arguments(self, tmp_path):
        arguments = TrainingArguments(
            output_dir=str(tmp_path), run_name=HF, report_to="none", optim_args=f"x={HF}",
            resume_from_checkpoint="/home/minsu/run/checkpoint-5", lr_scheduler_type="cosine", seed=7,
            length_column_name="/home/x/y",
        )  # fmt: skip
        shown = shown_arguments(arguments)
        assert find_secrets(str(shown)) == find_private(str(shown)) == []
        assert str(tmp_path) not in str(shown)
        assert (shown["seed"], shown["lr_scheduler_type"], shown["length_column_name"]) == (7, "cosine", "y")
        assert not [name for name in shown if "dir" in name or "hub" in name or "token" in name.replace("tokens", "")]


def test_a_whole_card_of_private_inputs(tmp_path):
    """Everything that is known, from inputs full of what nobody else is to know."""
    folder = tmp_path / "home" / "minsu" / "runs" / "qa-run"
    folder.mkdir(parents=True)
    rows = write_rows(folder / "rows.jsonl", [{"question": "비밀 질문", "context": "비밀 문맥", "answers": "비밀"}])
    report: RunReport = dataclasses.replace(
        bare_report("qa"),
        base=facts.base_facts(str(folder)),
        data=data_of("qa", DataArguments(train_file=rows, test_file=rows)),
        arguments=shown_arguments(TrainingArguments(output_dir=str(folder))),
        hardware=machine.hardware(torch.device("cpu"), 1),
        versions=machine.versions(),
        command=facts.command(["/home/minsu/run_qa.py", "--train_file", rows, "--run_name", HF, "--model", str(folder)]),
    )
    for language in ("en", "ko"):
        text = card(report, folder, card_language=language)
        assert find_secrets(text) == find_private(text) == []
        for private in ("minsu", "home", "gpu-box", HF, str(tmp_path), "비밀"):
            assert private not in text
        assert "--train_file TRAIN.jsonl --model qa-run" in text
