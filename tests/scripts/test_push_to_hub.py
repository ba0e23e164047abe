"""--push_to_hub: what the Hub would refuse is said before anything is read, and a run ends on the Hub or whole beside it."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tasks.training.trainer import CompletionTrainer
from tests.conftest import ROOT, Finished
from tests.helpers.hub_server import ME, HubServer, hub_env
from tests.helpers.levels import quick
from tests.helpers.ranks import torchrun
from tests.scripts.conftest import read_json, read_jsonl

pytest_plugins = ["tests.helpers.hub_fixtures"]

READ_ONLY, ANOTHER = "hf_" + "r" * 34, "hf_" + "a" * 34  # put together here, as ME is
SCRIPTS = ["run_chat", "run_classify", "run_generate", "run_nli", "run_qa", "run_scratch", "run_summarize"]


@pytest.fixture
def arguments(kogpt2_folder, files, tmp_path) -> list[str]:
    """A short run of nli that publishes itself; the licence of its base has still to be named."""
    train, validation = files["nli"]
    return [
        "--model", kogpt2_folder, "--train_file", train, "--validation_file", validation,
        "--output_dir", str(tmp_path / "out"), "--num_train_epochs", "1", "--max_new_tokens", "12",
        "--push_to_hub", "--hub_model_id", "me/x",
    ]  # fmt: skip


@pytest.fixture
def run(run_script, arguments, monkeypatch) -> Callable[..., Finished]:
    """Train and publish, without the fresh process that loads the model; the token is in no output."""
    monkeypatch.setattr("tasks.publishing.release.check_loads", lambda folder, staged: None)

    def call(*more: str) -> Finished:
        result = run_script("run_nli", *arguments, *more)
        assert ME not in result.stdout + result.stderr
        return result

    return call


def is_whole(folder: Path) -> bool:
    """Whether a folder holds all that a finished run leaves."""
    names = {path.name for path in folder.iterdir()}
    wanted = {"model.safetensors", "tokenizer.json", "task.json", "all_results.json", "predictions.jsonl", "loss.png",
              "run_report.json", "README.md"}  # fmt: skip
    return wanted <= names and "accuracy" in read_json(folder / "all_results.json")


# a run that ends on the Hub


def test_a_run_publishes_itself_once_and_privately(run, hub, tmp_path):
    result = run("--license", "apache-2.0", "--per_device_train_batch_size", "4", "--num_train_epochs", "2")
    assert result.code == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"{hub.url}/me/x"
    repo = hub.repo("me/x")
    assert repo.private
    assert [commit.message for commit in repo.commits[1:]] == [
        f"nli, accuracy {read_json(tmp_path / 'out' / 'all_results.json')['accuracy']:.4g} on validation"
    ]
    assert hub.count("commit") == hub.count("create") == 1  # none of the Trainer's own at its checkpoints
    assert is_whole(tmp_path / "out")
    assert repo.files["README.md"] == (tmp_path / "out" / "README.md").read_bytes()
    assert repo.files["model.safetensors"] == (tmp_path / "out" / "model.safetensors").read_bytes()
    assert b"license: apache-2.0" in repo.files["README.md"]
    assert not [name for name in repo.files if "training_args" in name or "predictions" in name or "/" in name]


@pytest.mark.slow
def test_a_classification_head_is_loaded_from_the_hub_by_stock_transformers(hub, run_script, kogpt2_folder, files, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    train, validation = files["classify"]
    result = run_script(
        "run_classify", "--model", kogpt2_folder, "--train_file", train, "--validation_file", validation, "--head",
        "--column_map", "text=text,text_pair=text_pair", "--num_train_epochs", 4, "--learning_rate", 0.01,
        "--output_dir", tmp_path / "out", "--push_to_hub", "--hub_model_id", "me/x", "--license", "mit",
    )  # fmt: skip
    assert result.code == 0, result.stderr
    model, tokenizer = (kind.from_pretrained("me/x") for kind in (AutoModelForSequenceClassification, AutoTokenizer))
    rows, expected = read_jsonl(Path(validation)), read_jsonl(tmp_path / "out" / "predictions.jsonl")
    inputs = tokenizer(*([row[name] for row in rows] for name in ("text", "text_pair")), return_tensors="pt", padding=True)
    with torch.no_grad():
        scores = model(**inputs).logits.log_softmax(-1)
    for own, row in zip(scores.tolist(), expected, strict=True):
        assert own == pytest.approx([row["scores"][label] for label in model.config.id2label.values()], abs=1e-3)


def test_a_base_that_is_named_lends_its_licence_and_the_folder_its_name(run, hub, arguments):
    del arguments[-2:]  # --hub_model_id
    result = run("--base_model", "skt/kogpt2-base-v2", "--hub_revision", "dev", "--hub_public")
    assert result.code == 0, result.stderr
    repo = hub.repo("me/out")
    card = repo.resolve("dev").files["README.md"].decode()
    assert "license: cc-by-nc-sa-4.0" in card
    assert "by SK Telecom (SKT AI), licensed under [CC BY-NC-SA 4.0]" in card
    assert list(repo.files) == [".gitattributes"]  # main
    assert not repo.private


def test_a_copy_that_is_recognised_keeps_its_credit_and_is_named_once(
    run, hub, arguments, kogpt2_folder, tmp_path, monkeypatch
):
    attempts = []
    step = CompletionTrainer.training_step

    def fail_once(self, *args, **kwargs):
        attempts.append(self.state.global_step)
        if len(attempts) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return step(self, *args, **kwargs)

    monkeypatch.setattr(CompletionTrainer, "training_step", fail_once)
    copy = Path(shutil.copytree(kogpt2_folder, tmp_path / "somewhere" / "my-copy"))
    config = read_json(copy / "config.json") | {"created_date": "2021-04-28", "license": "CC-BY-NC-SA 4.0"}
    (copy / "config.json").write_text(json.dumps(config), "utf-8")
    arguments[1] = str(copy)
    result = run("--auto_find_batch_size")
    assert result.code == 0, result.stderr
    assert len(attempts) > 1
    assert result.stderr.count("is taken for a copy") == 1
    assert (
        "my-copy is taken for a copy of skt/kogpt2-base-v2 by its config or vocabulary; if it is another model, say "
        "what it comes of by base_model in its README.md\n"
    ) in result.stderr
    card = hub.repo("me/x").files["README.md"].decode()
    assert "license: cc-by-nc-sa-4.0\n" in card and "base_model: skt/kogpt2-base-v2\n" in card
    assert "by SK Telecom (SKT AI), licensed under [CC BY-NC-SA 4.0]" in card
    assert "\npython scripts/run_nli.py --model skt/kogpt2-base-v2 --train_file " in card
    assert "somewhere" not in card


def test_what_was_chosen_for_a_run_holds_when_it_is_published_later(run, run_script, hub, arguments, tmp_path):
    del arguments[-3:]  # --push_to_hub --hub_model_id me/x
    assert run("--license", "mit", "--card_language", "ko", "--card_examples", "2").code == 0
    assert hub.requests == []
    local = (tmp_path / "out" / "README.md").read_text("utf-8")
    result = run_script("publish", "out", "--repo_id", "me/x")
    assert result.code == 0, result.stderr
    card = hub.repo("me/x").files["README.md"].decode()
    assert card == local.replace('"out"', '"me/x"').replace("# out\n", "# x\n").replace("name: out\n", "name: x\n")
    assert "license: mit" in card
    assert "민준이 도서관에서 자전거를 탔다." in card  # a row, because it was asked for


def test_a_newer_run_in_the_same_folder_keeps_what_the_owner_wrote_on_the_hub(run, hub, tmp_path):
    assert run("--license", "mit").code == 0
    repo = hub.repo("me/x")
    repo.commit("by hand", {"README.md": repo.files["README.md"] + "\n## Thanks\n\nTo 서연.\n".encode()})
    result = run("--license", "mit", "--overwrite_output_dir", "--learning_rate", "0.01")
    assert result.code == 0, result.stderr
    card = repo.files["README.md"].decode()
    assert "To 서연." in card
    assert "| `learning_rate` | 0.01 |" in card
    assert (tmp_path / "out" / "README.md").read_text("utf-8") == card
    assert len(repo.commits) == 4


def test_a_commit_refused_at_the_end_leaves_the_run_whole_and_the_command_that_resumes(run, run_script, hub, tmp_path):
    hub.fail("commit", status=403, times=None, message="not today")
    result = run("--license", "apache-2.0")
    assert result.code == 2
    assert "not today" in result.error
    assert is_whole(tmp_path / "out")
    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    sent = hub.count("put")
    hub.heal()
    again = run("--license", "apache-2.0")  # the same command names it, too, and trains nothing anew
    assert (again.code, again.error) == (
        2,
        f"the run in {tmp_path}/out is finished, and what is left is to publish it; the last line does",
    )
    assert again.stderr.splitlines()[-1] == result.stderr.splitlines()[-1]
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before
    _, script, *words = shlex.split(result.stderr.splitlines()[-1])
    assert (tmp_path / script).samefile(ROOT / "scripts" / "publish.py")
    assert run_script("publish", *words).code == 0
    assert hub.count("put") == sent
    assert hub.repo("me/x").files["model.safetensors"] == before
    assert len(hub.repo("me/x").commits) == 2
    assert hub.repo("me/x").private


def test_a_login_that_ends_during_training_leaves_the_run_whole_and_the_command_that_resumes(run, run_script, hub, tmp_path):
    hub.revoke(ME, "info", after=1)  # the last request before training
    result = run("--license", "apache-2.0")
    assert result.code == 2
    assert "does not accept the token" in result.error
    assert is_whole(tmp_path / "out")
    assert hub.repos == {}
    hub.add_account("me", ME)
    assert run_script("publish", *shlex.split(result.stderr.splitlines()[-1])[2:]).code == 0
    assert len(hub.repo("me/x").commits) == 2


# what is found before training


@pytest.fixture
def refused(run_script, arguments, monkeypatch, tmp_path):
    """Run a script that has to stop before it reads a row or loads a model; returns the error."""

    def never(*args, **kwargs):
        raise AssertionError("this comes after the preflight")

    for name in ("preparing.run_data.RunData", "model.loading.open_encoder", "model.loading.open_model"):
        monkeypatch.setattr(f"tasks.{name}", never)

    def call(*more: str, script: str = "run_nli") -> str:
        own = arguments if script != "run_scratch" else arguments[2:]
        result = run_script(script, *own, *more)
        assert result.code == 2
        assert not any(token in result.stdout + result.stderr for token in (ME, READ_ONLY, ANOTHER))
        assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
        return result.error

    return call


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_token_that_may_only_read_stops_every_script(refused, hub, monkeypatch, script):
    hub.add_account("me", READ_ONLY, role="read")
    monkeypatch.setenv("HF_TOKEN", READ_ONLY)
    assert refused("--license", "mit", script=script).startswith("the token may only read; make one with write access")
    assert [seen.route for seen in hub.requests] == ["whoami"]


def test_without_a_token(refused, hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    assert refused("--license", "mit").startswith("nobody is logged in to the Hub; run `hf auth login`")
    assert hub.requests == []


def test_a_licence_that_is_not_known_or_does_not_fit(refused, hub):
    assert refused() == "the licence of kogpt2 is not known; look it up and name it with --license"
    base = ("--base_model", "skt/kogpt2-base-v2")
    assert "skt/kogpt2-base-v2 is under cc-by-nc-sa-4.0, and mit drops" in refused(*base, "--license", "mit")
    assert "forbids sharing adaptations" in refused("--base_model", "kakaobrain/kogpt")
    assert "add --allow_nd_dataset" in refused("--license", "mit", "--dataset_license", "cc-by-nd-4.0")
    assert hub.requests == []


def test_a_folder_whose_licence_asks_for_credit(refused, hub, arguments, kogpt2_folder, tmp_path):
    folder = Path(shutil.copytree(kogpt2_folder, tmp_path / "my-model"))
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-sa-4.0\n---\n", "utf-8")
    arguments[1] = str(folder)
    error = "the base is the local model 'my-model' under cc-by-nc-sa-4.0, which asks for credit to its maker"
    assert refused().startswith(error)
    assert refused("--license", "cc-by-nc-sa-4.0").startswith(error)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (["--hub_model_id", "you/x"], "me may not write to you; possible are me, readers"),
        (["--hub_model_id", "readers/x"], "me may only read in readers"),
        (["--hub_model_id", "a b"], "--hub_model_id a b: "),
        (["--hub_model_id", "me/public"], "me/public is public, and a release is private unless --hub_public is given"),
        (["--hub_model_id", "me/qa"], "me/qa holds a model for qa"),
        (["--no_do_train"], "leave --no_do_train, --no_do_eval out"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_place_that_cannot_be_written_to(refused, hub, given, error):
    hub.add_account("me", ME, orgs={"readers": "read"})
    hub.add_account("you", ANOTHER)
    hub.add_repo("me/public")
    hub.add_repo("me/qa", {"config.json": b"{}", "task.json": b'{"task": "qa"}'}, private=True)
    assert error in refused("--license", "mit", *given)
    assert {seen.method for seen in hub.requests} <= {"GET", "HEAD"}


def test_a_token_on_the_command_line_or_in_a_config_is_refused_with_the_reason(refused, hub, tmp_path):
    (tmp_path / "a.yaml").write_text(f"hub_token: {ANOTHER}\nlicense: mit\n", "utf-8")
    (tmp_path / "a.json").write_text(json.dumps({"hub_token": ANOTHER, "license": "mit"}), "utf-8")
    (tmp_path / "a.txt").write_text(f"--license mit --hub_token={ANOTHER}\n", "utf-8")
    ways = [["--hub_token", ANOTHER], [f"--hub_token={ANOTHER}"]]
    ways += [["--config", f"a.{kind}"] for kind in ("yaml", "json", "txt")]
    for way in ways:
        assert refused(*way).startswith("--hub_token: a token on the command line ends up in shell histories")
    assert hub.requests == []


def test_the_trainers_own_ways_to_push_are_refused(refused, hub):
    for way in (["--hub_strategy", "checkpoint"], ["--hub_strategy", "all_checkpoints"], ["--hub_always_push"]):
        assert "a run is published once, at its end, when it is measured" in refused("--license", "mit", *way)
    assert "a model is private unless --hub_public is given" in refused("--license", "mit", "--hub_private_repo", "false")
    assert hub.requests == []


# two processes

TWO = ("--standalone", "--nproc_per_node", "2", str(ROOT / "scripts" / "run_nli.py"))


def as_typed(hub: HubServer, token: str, home: Path, arguments: list[str]) -> tuple[Finished, float]:
    """torchrun, whose processes are started anew."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *TWO, *arguments, "--license", "apache-2.0"],
        cwd=ROOT, env=hub_env(hub, token, home) | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return Finished(done.returncode, done.stdout, done.stderr), time.perf_counter() - started


@pytest.mark.parametrize("how", quick(["as typed", "forked"], "forked"))
def test_of_two_processes_one_alone_publishes(hub, arguments, tmp_path, monkeypatch, how):
    if how == "forked":  # the check that loads the model starts a process anew, too
        monkeypatch.setattr("tasks.publishing.release.check_loads", lambda folder, staged: None)
        done = torchrun(tmp_path / "launcher", *TWO, *arguments, "--license", "apache-2.0", forked=True)
    else:
        done, _ = as_typed(hub, ME, tmp_path / "home", arguments)
    assert done.code == 0, done.stderr
    assert done.stdout.count("sent and compared: ") == done.stdout.count(f"{hub.url}/me/x") == 1
    assert len(hub.repo("me/x").commits) == 2
    assert hub.count("commit") == 1
    assert hub.count("whoami") == 2  # once before training, once before sending: a second process would ask again
    assert is_whole(tmp_path / "out")
    assert b"torchrun --nproc_per_node 2" in hub.repo("me/x").files["README.md"]


@pytest.mark.slow
def test_of_two_processes_both_end_when_the_hub_would_refuse(hub, arguments, tmp_path):
    hub.add_account("me", READ_ONLY, role="read")
    done, seconds = as_typed(hub, READ_ONLY, tmp_path / "home", arguments)
    assert done.code != 0
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")] == [
        "error: the token may only read; make one with write access at https://huggingface.co/settings/tokens, and log in "
        "with `hf auth login`"
    ]
    assert hub.count("whoami") == len(hub.requests) == 1
    assert "train" not in done.stdout
    assert not list((tmp_path / "out").glob("*"))
    assert seconds < 60
