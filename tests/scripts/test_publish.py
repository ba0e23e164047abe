"""publish.py through its command line, against the Hub of the tests: what is sent, what is refused, and how it goes on."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, constants

from tests.conftest import ROOT, Finished
from tests.helpers.hub_server import ME, HubServer, hub_env
from tests.scripts.conftest import read_json

pytest_plugins = ["tests.helpers.hub_fixtures"]

SENT = [
    "README.md", "all_results.json", "config.json", "confusion.png", "generation_config.json", "loss.png",
    "model.safetensors", "task.json", "tokenizer.json", "tokenizer_config.json",
]  # fmt: skip
ANOTHER = "hf_" + "a" * 34  # put together here, as ME is
MINE = b"---\nlicense: mit\n---\n# Mine\n\nWritten by hand.\n"
COMMAND = ("--repo_id", "me/x", "--license", "apache-2.0")

#: As a reader of the card would: stock transformers, the card's own example, and no line of this project.
READER = """
import contextlib, hashlib, io, json, re, sys
from pathlib import Path
import torch
from huggingface_hub import hf_hub_download, snapshot_download
from transformers import AutoModelForCausalLM, AutoTokenizer

repo_id, text = sys.argv[1:]
tokenizer, model = AutoTokenizer.from_pretrained(repo_id), AutoModelForCausalLM.from_pretrained(repo_id).eval()
ids = tokenizer(text, add_special_tokens=False).input_ids
with torch.no_grad():
    following = model(torch.tensor([ids])).logits[0].argmax(-1).tolist()
card = Path(hf_hub_download(repo_id, "README.md")).read_text("utf-8")
said = io.StringIO()
with contextlib.redirect_stdout(said):
    exec(re.search(r"```python\\n(.*?)```", card, re.DOTALL)[1], {"__name__": "__main__"})
assert "tasks" not in sys.modules  # it may be installed, but is not needed
files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(snapshot_download(repo_id)).iterdir()}
print(json.dumps({"ids": ids, "following": following, "said": said.getvalue(), "files": files}))
"""

#: A script whose staged folder is not loaded once more in a process of its own, which takes six seconds: ``read`` loads what
#: arrived, and a release with everything is in ``test_push_to_hub.py``, under torchrun.
UNLOADED = """
import runpy, sys
import tasks.publishing.release
tasks.publishing.release.check_loads = lambda run, staged: None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, but for what a killed run staged."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    return {name: content for name, content in names.items() if not name.startswith(".publish-")}


def child_env(server: HubServer, home: Path) -> dict[str, str]:
    return hub_env(server, ME, home) | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


# in child processes


@pytest.fixture(scope="module")
def place(finished, tmp_path_factory):
    """A Hub, a run, and the command that publishes it; what the fixtures below do to them, they do one after the other."""
    folder = tmp_path_factory.mktemp("published")
    run = Path(shutil.copytree(finished("nli"), folder / "run"))
    with HubServer() as server:
        server.add_account("me", ME)
        command = [sys.executable, "-c", UNLOADED, "scripts/publish.py", str(run), *COMMAND]
        yield server, run, command, {"cwd": ROOT, "env": child_env(server, folder / "home"), "text": True}


@pytest.fixture(scope="module")
def killed(place) -> dict:
    """The command, killed when its files have arrived and its commit has not; what was there before and after."""
    server, run, command, how = place
    before, arrived, gone = snapshot(run), threading.Event(), threading.Event()
    server.before("commit", lambda: (arrived.set(), gone.wait(60)))
    server.fail("commit", 503)  # whatever the dead process asked for is not done
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **how) as process:
        assert arrived.wait(60), process.stderr.read()
        os.kill(process.pid, signal.SIGKILL)
    gone.set()
    server.heal()
    objects = set(server.repo("me/x").objects)
    return {"before": before, "after": snapshot(run), "objects": objects, "put": server.count("put"),
            "commits": len(server.repo("me/x").commits), "code": process.returncode}  # fmt: skip


@pytest.fixture(scope="module")
def terminated(place, killed) -> Finished:
    """The same command, ended by SIGTERM at the same moment."""
    server, _, command, how = place
    arrived, gone = threading.Event(), threading.Event()
    server.before("commit", lambda: (arrived.set(), gone.wait(60)))
    server.fail("commit", 503)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how) as process:
        assert arrived.wait(60), process.stderr.read()
        os.kill(process.pid, signal.SIGTERM)
        out, err = process.communicate(timeout=30)  # the Hub has not answered yet
    gone.set()
    server.heal()
    return Finished(process.returncode, out, err)


@pytest.fixture(scope="module")
def released(place, killed, terminated) -> Finished:
    """The same command once more, now to its end."""
    _, _, command, how = place
    done = subprocess.run(command, capture_output=True, timeout=120, check=False, **how)
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def read(place, released, tmp_path_factory) -> dict:
    """What a fresh process gets to know that has the id of the repository alone."""
    server, *_ = place
    home = tmp_path_factory.mktemp("reader")
    done = subprocess.run(
        [sys.executable, "-I", "-c", READER, "me/x", "비가 온다. 날씨가 맑다."],
        cwd=home, env=hub_env(server, ME, home), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_killed_between_upload_and_commit_the_run_is_whole_and_the_hub_shows_nothing(killed):
    assert killed["code"] == -signal.SIGKILL
    assert killed["after"] == killed["before"]
    assert killed["commits"] == 1  # the Hub's own
    assert hashlib.sha256(killed["before"]["model.safetensors"]).hexdigest() in killed["objects"]


def test_ended_by_sigterm_it_says_so_and_names_the_command_that_finishes(place, terminated):
    assert (terminated.code, terminated.error) == (
        143,
        "ended by SIGTERM; the run's folder is as it was, and the last line goes on",
    )
    words = shlex.split(terminated.stderr.splitlines()[-1])
    assert words == ["python", "scripts/publish.py", str(place[1]), *COMMAND]


def test_the_same_command_finishes_and_sends_no_large_file_again(place, killed, released):
    server = place[0]
    assert released.code == 0, released.stderr
    assert len(server.repo("me/x").commits) == 2
    assert server.count("put") == killed["put"] == 3  # weights, loss curve and confusion matrix
    assert sorted(server.repo("me/x").files) == [".gitattributes", *SENT]
    assert server.repo("me/x").private


def test_a_release_prints_its_files_and_its_address(place, released):
    assert released.stdout.splitlines() == [f"sent and compared: {', '.join(SENT)}", f"{place[0].url}/me/x"]
    assert "Traceback" not in released.stderr
    assert ME not in released.stdout + released.stderr


def test_a_fresh_process_downloads_what_the_run_holds(place, read):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    server, run, *_ = place
    files = server.repo("me/x").files
    assert read["files"] == {name: hashlib.sha256(files[name]).hexdigest() for name in read["files"]}
    assert set(SENT) <= set(read["files"])
    same = ["README.md", "all_results.json", "generation_config.json", "loss.png", "model.safetensors", "tokenizer.json"]
    assert [name for name in same if files[name] != (run / name).read_bytes()] == []

    tokenizer, model = AutoTokenizer.from_pretrained(run), AutoModelForCausalLM.from_pretrained(run).eval()
    ids = tokenizer("비가 온다. 날씨가 맑다.", add_special_tokens=False).input_ids
    with torch.no_grad():
        following = model(torch.tensor([ids])).logits[0].argmax(-1).tolist()
    assert (read["ids"], read["following"]) == (ids, following)
    assert json.loads(files["config.json"])["use_cache"] is True  # training turns it off


def test_the_example_of_the_card_runs_as_printed_and_answers_as_predict_does(place, read, run_script):
    from tasks import get_task

    prompt = "\t".join(get_task("nli").usage_example.values())
    result = run_script("predict", place[1], "--prompt", prompt, "--output_format", "text")
    assert read["said"] == result.stdout != ""


def test_predict_answers_from_the_hub_as_from_the_folder(place, released, hub, run_script):
    server, run, *_ = place
    hub.add_repo("me/x", server.repo("me/x").files, private=True)
    lines = "비가 온다.\t날씨가 맑다.\n민준이는 도서관에서 책을 빌렸다.\t서울은 대한민국의 수도이다.\n"
    by_id, by_folder = (run_script("predict", model, stdin=lines) for model in ("me/x", run))
    assert hub.count("resolve") > 0
    assert by_id.stdout == by_folder.stdout
    assert len(by_id.stdout.splitlines()) == 2


def test_two_processes_that_publish_the_same_folder_make_one_commit(run, hub, tmp_path):
    meet = threading.Barrier(2, timeout=60)
    hub.before("commit", meet.wait, times=2)  # neither commits before both are about to
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", UNLOADED, "scripts/publish.py", str(run), *COMMAND],
            cwd=ROOT, env=child_env(hub, tmp_path / f"home{number}"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]  # fmt: skip
    ends = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ends
    assert [commit.message for commit in hub.repo("me/x").commits[1:]] == ["nli, accuracy 0.375 on validation"]
    assert hub.count("commit") == 2  # one of them was refused, read again, and had nothing left to send
    assert sorted("nothing was sent" in out for out, _ in ends) == [False, True]
    assert all(("nothing was sent" in out) == ("has changed in the meantime" in err) for out, err in ends)
    assert not list(run.glob(".publish-*"))


# in this process


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A finished run of its own, in a folder whose name a shell has to be told about."""
    return Path(shutil.copytree(finished("nli"), tmp_path / "내 실행 1"))


@pytest.fixture
def loads(monkeypatch) -> list[Path]:
    """The runs that were to be loaded in a process of their own; as for ``UNLOADED``."""
    runs: list[Path] = []
    monkeypatch.setattr("tasks.publishing.release.check_loads", lambda folder, staged: runs.append(folder))
    return runs


@pytest.fixture
def publish(run_script, run, loads):
    """Publish ``run`` to me/x under apache-2.0 with more flags; the token is in no output."""

    def call(*arguments, to=COMMAND) -> Finished:
        result = run_script("publish", run, *to, *arguments)
        assert ME not in result.stdout + result.stderr
        return result

    return call


def card_of(hub: HubServer, repo_id: str = "me/x") -> ModelCard:
    return ModelCard(hub.repo(repo_id).files["README.md"].decode())


@pytest.mark.parametrize("offline", [False, True], ids=["with a token", "offline and without a token"])
def test_dry_run_shows_what_would_be_sent_and_asks_nobody(publish, run, hub, loads, monkeypatch, offline):
    if offline:
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    before = snapshot(run)
    result = publish("--dry_run")
    assert result.code == 0, result.stderr
    assert hub.requests == []
    assert snapshot(run) == before
    assert not list(run.glob(".publish-*"))
    assert loads == [run]  # all checks were made

    listing, _, rest = result.stdout.partition("\n\n")
    shown = {name: int(size.replace(",", "")) for size, name in map(str.split, listing.splitlines())}
    card = rest[: rest.index("\nnothing was sent")]
    assert list(shown) == SENT
    assert shown["README.md"] == len(card.encode())
    assert shown["model.safetensors"] == (run / "model.safetensors").stat().st_size
    assert "license: apache-2.0" in card
    assert 'model_id = "me/x"' in card
    if not offline:  # and this is what is sent then
        publish()
        files = hub.repo("me/x").files
        assert files["README.md"].decode() == card
        assert shown == {name: len(files[name]) for name in SENT}


def test_publishing_twice_changes_nothing_and_says_so(publish, run, hub, loads):
    assert publish().code == 0
    assert hub.repo("me/x").files["README.md"] == (run / "README.md").read_bytes()
    before, requests = snapshot(run), len(hub.requests)
    again = publish()
    assert again.code == 0, again.stderr
    assert again.stdout.splitlines() == ["nothing has changed since the last release: nothing was sent", f"{hub.url}/me/x"]
    assert {seen.method for seen in hub.requests[requests:]} <= {"GET", "HEAD"}
    assert snapshot(run) == before
    assert len(hub.repo("me/x").commits) == 2
    assert len(loads) == 1


def test_a_newer_run_updates_the_results_and_keeps_what_the_owner_wrote(publish, run, hub):
    publish()
    repo = hub.repo("me/x")
    text = repo.files["README.md"].decode()
    repo.commit("by hand", {"README.md": (text + "\n## Thanks\n\nTo 서연.\n").encode()})
    results = read_json(run / "all_results.json")
    better = results | {"accuracy": 0.625, "test_accuracy": 0.5}  # the card has at its top what was measured last
    (run / "all_results.json").write_text(json.dumps(better), "utf-8")
    result = publish()
    assert result.stdout.splitlines()[0] == "sent and compared: README.md, all_results.json"
    assert repo.head.message == "nli, accuracy 0.625 on validation"
    card = repo.files["README.md"].decode()
    assert "To 서연." in card
    assert "**accuracy 0.500**" in card
    assert (run / "README.md").read_text("utf-8") == card


def test_tag_and_commit_message(publish, hub):
    assert publish("--tag", "v1", "--commit_message", "첫 배포").code == 0
    repo = hub.repo("me/x")
    assert repo.head.message == "첫 배포"
    assert repo.tags == {"v1": repo.head.id}
    assert publish("--tag", "v1.0").code == 0  # nothing to send, but a second name for it
    assert repo.tags == {"v1": repo.head.id, "v1.0": repo.head.id}
    repo.commit("by hand", {"notes.txt": b"1"})
    assert publish("--tag", "v1").error.startswith("--tag v1: me/x has this tag already, on another commit")


def test_revision_is_a_branch_that_is_made_where_there_is_none(publish, hub):
    of_main = {"README.md": MINE, "model-00001-of-00002.safetensors": b"1", "notes.txt": b"2", "config.json": b"{}"}
    hub.add_repo("me/x", of_main | {"task.json": b'{"task": "qa"}'}, private=True)
    main = hub.repo("me/x").head
    result = publish("--revision", "실험", "--tag", "try-1")
    assert result.code == 0, result.stderr
    repo = hub.repo("me/x")
    assert repo.head is main
    assert [commit.message for commit in repo.history("실험")][2:] == ["nli, accuracy 0.375 on validation"]
    assert repo.tags == {"try-1": repo.resolve("실험").id}
    # A branch begins with the files of main: its owner's text stays, another model's weights do not.
    files = repo.resolve("실험").files
    assert sorted(files) == [".gitattributes", *sorted([*SENT, "notes.txt"])]
    assert "Written by hand." in files["README.md"].decode()
    assert "license: apache-2.0" in files["README.md"].decode()


def test_a_repository_that_another_process_makes_at_the_same_moment_keeps_its_card(publish, hub):
    hub.before("create", lambda: hub.add_repo("me/x", {"README.md": MINE}, private=True))
    assert publish().code == 0
    assert len(hub.repo("me/x").commits) == 3
    assert "Written by hand." in card_of(hub).text
    hub.before("create", lambda: hub.add_repo("me/y"))  # a public one
    assert "me/y is public, and a release is private" in publish(to=("--repo_id", "me/y", "--license", "mit")).error
    assert len(hub.repo("me/y").commits) == 1


def test_create_pr_opens_a_pull_request_and_leaves_main_alone(publish, hub):
    hub.add_account("you", ANOTHER)
    hub.add_repo("you/x", {"README.md": MINE})
    main = hub.repo("you/x").head
    result = publish("--create_pr", "--commit_message", "A better one", to=("--repo_id", "you/x", "--license", "mit"))
    assert result.code == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"{hub.url}/you/x/discussions/1"
    repo = hub.repo("you/x")
    assert repo.head is main
    assert (repo.pulls[1].author, repo.pulls[1].title) == ("me", "A better one")
    files = repo.resolve("refs/pr/1").files
    assert set(SENT) < set(files)
    assert "Written by hand." in files["README.md"].decode()
    assert publish("--create_pr", "--tag", "v1").error.startswith("--create_pr opens a pull request on main")


def test_predictions_are_sent_only_when_asked_for(publish, hub):
    publish()
    assert not [name for name in hub.repo("me/x").files if "predictions" in name]
    assert publish("--predictions").stdout.startswith("sent and compared: predictions.jsonl, test_predictions.jsonl\n")
    assert {"predictions.jsonl", "test_predictions.jsonl"} < set(hub.repo("me/x").files)


def test_private_unless_hub_public(publish, hub):
    publish()
    assert hub.repo("me/x").private
    assert publish("--hub_public").code == 0
    assert not hub.repo("me/x").private
    assert "is public, and a release is private unless --hub_public is given" in publish().error
    assert publish("--hub_public", to=("--repo_id", "me/y", "--license", "mit")).code == 0
    assert not hub.repo("me/y").private


def test_without_a_namespace_the_repository_is_the_users_own(publish, hub):
    assert publish(to=("--repo_id", "x", "--license", "mit")).stdout.splitlines()[-1] == f"{hub.url}/me/x"


def test_what_else_lies_in_the_folder_stays_there(publish, run, hub):
    planted = {
        ".env": f"HF_TOKEN={ANOTHER}\n".encode(), "optimizer.pt": b"1", "scheduler.pt": b"1", "training_args.bin": b"1",
        "pytorch_model.bin": b"1", "train.jsonl": b"{}", "runs.log": b"x", "modeling_mine.py": b"import os", "id_rsa": b"x",
        ".git-credentials": b"x",
    }  # fmt: skip
    for name, content in planted.items():
        (run / name).write_bytes(content)
    assert (run / "run_report.json").is_file()
    assert publish().code == 0
    assert sorted(hub.repo("me/x").files) == [".gitattributes", *SENT]
    assert not any(ANOTHER.encode() in content for content in hub.repo("me/x").files.values())


def test_a_secret_in_what_is_sent_stops_it(publish, run, hub):
    results = read_json(run / "all_results.json")
    for secret, kind in ((ANOTHER, "Hugging Face token"), (ME, "access token of yours")):
        (run / "all_results.json").write_text(json.dumps(results | {"note": secret}), "utf-8")
        result = publish()
        assert result.code == 2
        assert result.error.startswith("all_results.json holds what looks like a secret (")
        assert kind in result.error
        assert ANOTHER not in result.stdout + result.stderr
        assert {seen.method for seen in hub.requests} <= {"GET", "HEAD"}
        assert hub.repos == {}


def test_a_link_that_leads_out_is_not_followed(publish, run, hub, tmp_path):
    (tmp_path / "elsewhere.json").write_text("{}")
    (run / "vocab.json").symlink_to(tmp_path / "elsewhere.json")
    assert "vocab.json is a link that leads out of the folder" in publish().error
    assert hub.repos == {}


# licences


def test_without_a_known_licence_it_has_to_be_named(publish, hub):
    for flags in ((), ("--dry_run",)):
        result = publish(*flags, to=("--repo_id", "me/x"))
        assert result.code == 2
        assert result.error == "the licence of kogpt2 is not known; look it up and name it with --license"
    assert hub.requests == []


def test_a_base_model_that_is_named_lends_its_licence_and_its_credit(publish, hub):
    base = ("--repo_id", "me/x", "--base_model", "skt/kogpt2-base-v2")
    laxer = publish("--license", "apache-2.0", to=base)
    assert laxer.code == 2
    assert "skt/kogpt2-base-v2 is under cc-by-nc-sa-4.0, and apache-2.0 drops" in laxer.error
    assert hub.requests == []
    assert publish(to=base).code == 0
    card = card_of(hub)
    assert (card.data.license, card.data.base_model) == ("cc-by-nc-sa-4.0", "skt/kogpt2-base-v2")
    assert "by SK Telecom (SKT AI), licensed under [CC BY-NC-SA 4.0]" in card.text


def test_data_that_may_not_be_adapted_stops_it_until_the_user_decides(publish, hub):
    refused = publish("--dataset_license", "cc-by-nd-4.0")
    assert refused.code == 2
    assert refused.error.endswith("to publish on your own judgement, add --allow_nd_dataset")
    assert hub.requests == []
    assert publish("--dataset_license", "cc-by-nd-4.0", "--allow_nd_dataset").code == 0
    assert "cc-by-nd-4.0" in card_of(hub).text


def test_stricter_data_is_not_dropped(publish, hub):
    assert "the data set is under cc-by-nc-4.0" in publish("--dataset_license", "cc-by-nc-4.0").error
    assert "is not a licence id of the Hub; did you mean apache-2.0?" in publish("--license", "apache-2").error
    assert hub.requests == []


# what the Hub refuses


def test_after_a_refused_commit_the_last_line_is_the_command_that_finishes(publish, run, run_script, hub, tmp_path):
    before = snapshot(run)
    hub.fail("commit", 403, times=None, message="not today")
    flags = ("--tag", "v1", "--commit_message", "Kim's first", "--predictions", "--card_language", "ko", "--hub_public")
    refused = publish(*flags)
    assert refused.code == 2
    assert "sending to me/x: the Hub refuses (" in refused.error
    assert "not today" in refused.error
    assert snapshot(run) == before
    assert (len(hub.repo("me/x").commits), hub.repo("me/x").tags) == (1, {})
    sent = hub.count("put")

    hub.heal()
    python, script, *words = shlex.split(refused.stderr.splitlines()[-1])
    assert python == "python"
    assert (tmp_path / script).samefile(ROOT / "scripts" / "publish.py")  # from the folder where the first was typed, too
    result = run_script("publish", *words)
    assert result.code == 0, result.stderr
    repo = hub.repo("me/x")
    assert [commit.message for commit in repo.commits] == ["initial commit", "Kim's first"]
    assert repo.tags == {"v1": repo.head.id}
    assert {"predictions.jsonl", *SENT} < set(repo.files)
    assert "## 사용" in card_of(hub).text
    assert not repo.private
    assert hub.count("put") == sent


def test_ctrl_c_during_the_upload_names_the_command_that_finishes(publish, run_script, hub):
    hub.before("commit", lambda: (os.kill(os.getpid(), signal.SIGINT), time.sleep(0.5)))
    hub.fail("commit", 503)
    result = publish("--tag", "v1")
    assert result.code == 130
    assert result.error.startswith("interrupted; the run's folder is as it was")
    hub.heal()
    assert run_script("publish", *shlex.split(result.stderr.splitlines()[-1])[2:]).code == 0
    assert hub.repo("me/x").tags == {"v1": hub.repo("me/x").head.id}


def test_without_a_login_nothing_begins(publish, hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    result = publish()
    assert result.code == 2
    assert result.error.startswith("nobody is logged in to the Hub; run `hf auth login`")
    assert hub.requests == []


def test_a_repository_of_somebody_else_or_of_another_task(publish, hub):
    hub.add_account("you", ANOTHER)
    hub.add_repo("you/x")
    assert "me may not write to you; possible are me" in publish(to=("--repo_id", "you/x", "--license", "mit")).error
    hub.add_repo("me/x", {"config.json": b"{}", "task.json": b'{"task": "qa"}'}, private=True)
    assert publish().error.startswith("me/x holds a model for qa; choose another --repo_id")
    assert {seen.method for seen in hub.requests} <= {"GET", "HEAD"}


# what was not measured


def test_only_what_was_measured_is_published(publish, run, hub):
    again = "run its command with --resume_from_checkpoint last, which measures it, or anew with --overwrite_output_dir"
    state, results = (json.loads((run / name).read_text("utf-8")) for name in ("run.json", "all_results.json"))
    weights = (run / "model.safetensors").read_bytes()
    digest = hashlib.sha256(weights).hexdigest()
    assert (state["finished"], results["weights_sha256"]) == (True, {"model.safetensors": digest})
    other = f"{run}: the results were not measured with this model.safetensors (its SHA-256 differs); {again}"
    for flags in ((), ("--dry_run",)):
        (run / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
        assert publish(*flags).error == other
        (run / "model.safetensors").write_bytes(weights)
        (run / "all_results.json").write_text(json.dumps({**results, "weights_sha256": None}), "utf-8")
        assert publish(*flags).error == other
        (run / "all_results.json").unlink()
        none = f"{run}: no results there (all_results.json), so nothing says how good the model is; {again}"
        assert publish(*flags).error == none
        (run / "all_results.json").write_text(json.dumps(results), "utf-8")
        (run / "run.json").write_text(json.dumps({**state, "finished": False}), "utf-8")
        unfinished = f"{run}: the run is not finished; start its command again, which goes on where it ended"
        assert publish(*flags).error == unfinished
        (run / "run.json").write_text(json.dumps(state), "utf-8")
    assert hub.requests == []
    assert publish().code == 0


def test_a_template_that_a_folder_names_is_not_read(publish, run, hub, tmp_path):
    ours = (ROOT / "model_cards" / "en.md").read_text("utf-8")
    (tmp_path / "own.md").write_text(f"{ours}\n## Mine\n\nA section of my own.\n", "utf-8")
    report = json.loads((run / "run_report.json").read_text("utf-8"))
    report["choices"]["card_template"] = str(tmp_path / "own.md")
    (run / "run_report.json").write_text(json.dumps(report), "utf-8")
    (run / "README.md").unlink()
    remembered = publish("--dry_run")
    assert (remembered.code, "## Mine" in remembered.stdout) == (0, False)
    assert "## Mine" in publish("--dry_run", "--card_template", tmp_path / "own.md").stdout


# arguments and folders


def test_the_folder_has_to_be_a_run(run_script, run, kogpt2_folder, hub, tmp_path):
    assert run_script("publish").error == "name the folder of a finished run, or a card with --check"
    assert run_script("publish", tmp_path / "none").error.endswith("none: no such folder; name the output folder of a run")
    assert "no task.json there" in run_script("publish", kogpt2_folder, *COMMAND).error
    for name in ("model.safetensors", "config.json"):
        (run / name).rename(tmp_path / name)
        result = run_script("publish", run, *COMMAND)
        assert result.code == 2
        assert str(run) in result.error
        (tmp_path / name).rename(run / name)
    assert hub.repos == {}


def test_names_that_the_hub_does_not_take(publish, hub):
    for name in ("a/b/c", "내/모델", "me/x--y", "me/x.git"):
        result = publish(to=("--repo_id", name, "--license", "mit"))
        assert result.code == 2
        assert result.error.startswith(f"--repo_id {name}: ")
    assert publish(to=("--license", "mit")).error.startswith("--repo_id 내 실행 1: ")  # the folder's own name
    assert hub.requests == []


# --check


def test_check_reads_a_card_and_lists_what_is_wrong_with_it(publish, run_script, run, hub, tmp_path):
    publish()
    asked = len(hub.requests)
    for path in (run, run / "README.md"):
        result = run_script("publish", "--check", path, "--repo_id", "me/x")
        assert (result.code, result.stdout) == (0, f"{path}: nothing is wrong with the card\n"), result.stdout
    good = (run / "README.md").read_text("utf-8")
    bad = good.replace("license: apache-2.0", "license: apache").replace("# x\n", "# x\n\nTO" + "DO: write\n", 1)
    card = tmp_path / "card.md"
    card.write_text(bad + f"\nToken: {ANOTHER}\n", "utf-8")
    result = run_script("publish", "--check", card)
    assert result.code == 2
    findings = result.stdout.splitlines()
    assert [re.match(r"card\.md line \d+: (.*?)(?: |;|,)", line)[1] for line in findings if ".png" not in line]
    assert result.error == f"{card}: what is wrong with the card is listed above (5)"
    assert ANOTHER not in result.stdout + result.stderr
    for word in ("apache", "TO" + "DO", "a secret (Hugging Face token)", "loss.png", "confusion.png"):
        assert sum(word in line for line in findings) == 1, findings
    assert len(findings) == 5
    assert len(hub.requests) == asked


def test_check_without_a_card_is_an_error(run_script, tmp_path):
    assert "no model card to read" in run_script("publish", "--check", tmp_path).error
