"""Publishing a run against a Hub that is real in all but its place: one commit, whatever goes wrong on the way."""

from __future__ import annotations

import errno
import importlib.util
import json
import shlex
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import CodeType, SimpleNamespace

import pytest
import yaml
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars
from jinja2 import Environment

from tasks import get_task
from tasks.arguments.command_line import parse_dataclasses
from tasks.arguments.data import DataArguments
from tasks.arguments.publishing import PublishArguments
from tasks.errors import Interrupted, UserError
from tasks.publishing import refusals, staging
from tasks.publishing import release as release_module
from tasks.publishing.edits import owner_text, split_front
from tasks.publishing.hub import Destination, Hub
from tasks.publishing.refusals import PAUSES
from tasks.publishing.release import Release, dry_run, headline, publish, resume_command, write_card
from tasks.publishing.report import Base, RunReport
from tasks.publishing.run import preflight, publish_run
from tests.conftest import ROOT, model_args
from tests.helpers.hub_repos import Repo
from tests.helpers.hub_server import ME, HubServer
from tests.helpers.tiny_run import SENT, digests, edit_json, write_run

pytest_plugins = ["tests.helpers.hub_fixtures"]

YOU = "hf_" + "y" * 34
TO = Destination("me/x", message="a release")
NOTHING = "nothing has changed since the last release: nothing was sent"
LARGE = 2  # of the files that are sent, model.safetensors and loss.png are large ones


@pytest.fixture(scope="module")
def made(kogpt2_folder, tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "nli", kogpt2_folder)


@pytest.fixture
def run(made, tmp_path) -> Path:
    """A finished run, in a folder whose name a shell has to be told about."""
    return Path(shutil.copytree(made, tmp_path / "내 실행 1"))


@pytest.fixture(autouse=True)
def naps(monkeypatch) -> list[float]:
    """The pauses between attempts; nobody sleeps."""
    pauses: list[float] = []
    monkeypatch.setattr(refusals, "time", SimpleNamespace(sleep=pauses.append))
    return pauses


@pytest.fixture(scope="module", autouse=True)
def compiled() -> Iterator[None]:
    """The template of the card is compiled once, not in each of a hundred releases."""
    compile, known = Environment.compile, {}

    def once(self: Environment, source: str) -> CodeType:
        if source not in known:
            known[source] = compile(self, source)
        return known[source]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Environment, "compile", once)
        yield


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """No progress bars between the lines that are compared."""
    disable_progress_bars()
    yield
    enable_progress_bars()


@pytest.fixture(autouse=True)
def loads(monkeypatch) -> list[Path]:
    """The folders that would have been loaded in a fresh process, which takes seconds; test_staging does it."""
    folders: list[Path] = []
    monkeypatch.setattr(release_module, "check_loads", lambda folder, staged: folders.append(folder))
    return folders


def release_of(run: Path, **more: object) -> Release:
    own = {name: more.pop(name) for name in ("predictions", "keep_card") if name in more}
    return Release(run, RunReport.load(run), PublishArguments(**more), **own)


def send(run: Path, destination: Destination = TO, hub: Hub | None = None, **more: object) -> str:
    return publish(release_of(run, **more), destination, hub)


def stopped(run: Path, destination: Destination = TO, **more: object) -> UserError:
    """The error of a release that fails; the run's folder is as it was."""
    before = digests(run)
    with pytest.raises(UserError) as caught:
        send(run, destination, **more)
    assert digests(run) == before
    assert caught.value.resume.startswith("python scripts/publish.py ")
    assert "\n" not in str(caught.value) and ME not in str(caught.value) + caught.value.resume
    return caught.value


def sent(repo: Repo, revision: str = "main") -> dict[str, bytes]:
    """The files of a repository by name, but for the Hub's own."""
    return {name: text for name, text in sorted(repo.resolve(revision).files.items()) if name != ".gitattributes"}


def messages(repo: Repo) -> list[str]:
    """The commits after the Hub's own."""
    return [commit.message for commit in repo.commits[1:]]


def card(repo: Repo) -> str:
    return repo.files["README.md"].decode()


def write_into_card(text: str, where: Path | Repo) -> None:
    """What an owner does: add a paragraph at the end, here or on the Hub's page."""
    if isinstance(where, Path):
        path = where / "README.md"
        path.write_text(f"{path.read_text('utf-8')}\n{text}\n", "utf-8")
    else:
        where.commit("edit", {"README.md": f"{card(where)}\n{text}\n".encode()})


# one release


def test_one_commit_holds_what_the_run_holds(run, hub, loads, capsys, naps):
    for name in (".env", "training_args.bin", "optimizer.pt", "data.csv", "predictions.jsonl", "pytorch_model.bin"):
        (run / name).write_text("HF_TOKEN=")
    before = digests(run)
    assert send(run) == f"{hub.url}/me/x"

    repo = hub.repo("me/x")
    assert (messages(repo), repo.private, repo.tags, repo.pulls) == (["a release"], True, {}, {})
    assert list(sent(repo)) == SENT
    assert repo.head.lfs == {"model.safetensors", "loss.png"}
    for name in ("model.safetensors", "loss.png", "tokenizer.json", "generation_config.json", "README.md"):
        assert repo.files[name] == (run / name).read_bytes()
    for name in ("task.json", "all_results.json", "config.json"):
        assert json.loads(repo.files[name]) == json.loads((run / name).read_bytes())
    assert json.loads(repo.files["tokenizer_config.json"])["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert "# x\n" in card(repo) and 'model_id = "me/x"' in card(repo)

    assert (loads, naps, hub.count("commit"), hub.count("put")) == ([run], [], 1, LARGE)
    assert capsys.readouterr().out.splitlines() == [f"sent and compared: {', '.join(SENT)}", f"{hub.url}/me/x"]
    after = digests(run)
    assert {name for name in after if after[name] != before.get(name)} == {"README.md", ".published.json"}


def test_the_second_time_nothing_is_sent(run, hub, loads, capsys):
    send(run)
    first = len(hub.requests)
    send(run)
    assert capsys.readouterr().out.splitlines()[-2:] == [NOTHING, f"{hub.url}/me/x"]
    assert len(loads) == 1 and len(hub.repo("me/x").commits) == 2
    assert {seen.method for seen in hub.requests[first:]} <= {"GET", "HEAD"}


def test_a_copy_of_the_run_on_another_machine_has_nothing_to_send_either(run, hub, made, tmp_path):
    send(run)
    assert send(Path(shutil.copytree(made, tmp_path / "copy"))) == f"{hub.url}/me/x"
    assert messages(hub.repo("me/x")) == ["a release"]


def test_where_only_the_card_has_changed_the_card_alone_is_sent(run, hub, capsys):
    send(run)
    write_into_card("내가 쓴 글.", run)
    send(run)
    repo = hub.repo("me/x")
    assert len(messages(repo)) == hub.count("commit") == 2
    assert (hub.count("put"), hub.count("batch")) == (LARGE, 1)
    assert capsys.readouterr().out.splitlines()[-2] == "sent and compared: README.md"
    old, new = repo.commits[1].files, repo.head.files
    assert [name for name in new if new[name] != old[name]] == ["README.md"]
    assert owner_text(card(repo)) == "내가 쓴 글."


def test_predictions_are_sent_where_they_are_asked_for(run, hub):
    (run / "predictions.jsonl").write_text('{"id": "0"}\n')
    send(run, predictions=True)
    assert sent(hub.repo("me/x"))["predictions.jsonl"] == b'{"id": "0"}\n'


@pytest.mark.parametrize("public", [False, True])
def test_private_unless_the_flag_is_given(run, hub, public):
    send(run, replace(TO, public=public))
    assert hub.repo("me/x").private != public
    assert hub.count("settings") == 0


def test_a_private_repository_is_made_public_by_the_flag(run, hub, capsys):
    send(run)
    send(run, replace(TO, public=True))
    assert not hub.repo("me/x").private
    assert (messages(hub.repo("me/x")), hub.count("settings")) == (["a release"], 1)
    error = stopped(run)
    assert str(error).startswith("me/x is public, and a release is private unless --hub_public is given")


def test_a_tag(run, hub):
    send(run, replace(TO, tag="v1"))
    repo = hub.repo("me/x")
    assert repo.tags == {"v1": repo.head.id}
    send(run, replace(TO, tag="v1"))
    send(run, replace(TO, tag="latest"))
    assert repo.tags == {"v1": repo.head.id, "latest": repo.head.id}
    assert (hub.count("tag"), hub.count("commit")) == (2, 1)


def test_a_tag_of_the_last_release_is_not_left_behind_by_a_new_one(run, hub, loads):
    send(run, replace(TO, tag="v1"))
    repo = hub.repo("me/x")
    head = repo.head.id
    edit_json(run / "all_results.json", accuracy=0.875)
    error = stopped(run, replace(TO, tag="v1"))
    assert str(error) == "--tag v1: me/x has this tag already, on another commit; choose a new one"
    assert (repo.head.id, repo.tags, len(loads)) == (head, {"v1": head}, 1)
    send(run, replace(TO, tag="v2"))
    assert repo.tags == {"v1": head, "v2": repo.head.id}


def test_a_branch_is_made_where_it_is_missing(run, hub):
    send(run)
    repo = hub.repo("me/x")
    head = repo.head.id
    edit_json(run / "all_results.json", accuracy=0.875)
    for _ in range(2):
        send(run, replace(TO, revision="dev", tag="v1"))
    assert (repo.head.id, list(repo.branches)) == (head, ["main", "dev"])
    assert [commit.message for commit in repo.history("dev")] == ["initial commit", "a release", "a release"]
    assert json.loads(sent(repo, "dev")["all_results.json"])["accuracy"] == 0.875
    assert repo.tags == {"v1": repo.branches["dev"]}
    assert hub.count("branch") == 1


def test_the_first_release_may_go_to_a_branch(run, hub):
    send(run, replace(TO, revision="dev"))
    repo = hub.repo("me/x")
    assert (list(sent(repo, "dev")), list(sent(repo)), repo.private) == (SENT, [], True)


def test_a_branch_of_its_own_takes_over_no_other_models_files(run, hub):
    """It begins with the files of main, and a vocab.json beside tokenizer.json would be read."""
    other = {"config.json": b"{}", "vocab.json": b"{}", "model-00001-of-00002.safetensors": b"1", "x.gguf": b"1"}
    repo = hub.add_repo("me/x", other, private=True)
    send(run, replace(TO, revision="nli"))
    assert list(sent(repo, "nli")) == sorted([*SENT, "x.gguf"])
    assert sent(repo) == other


def test_a_pull_request(run, hub, capsys):
    repo = hub.add_repo("you/x")
    assert send(run, Destination("you/x", create_pr=True, message="take this")) == f"{hub.url}/you/x/discussions/1"
    assert (messages(repo), repo.pulls[1].title, list(sent(repo, "refs/pr/1"))) == ([], "take this", SENT)
    assert (hub.count("commit"), hub.count("settings"), hub.count("tag")) == (1, 0, 0)
    assert capsys.readouterr().out.splitlines()[-1] == f"{hub.url}/you/x/discussions/1"


def test_a_second_pull_request_updates_the_one_that_is_open(run, hub, capsys):
    repo = hub.add_repo("you/x", {"README.md": b"theirs"})
    repo.open_pull("fix a typo", "me")
    to = Destination("you/x", create_pr=True, message=headline(RunReport.load(run)))
    assert send(run, to) == f"{hub.url}/you/x/discussions/2"
    edit_json(run / "all_results.json", accuracy=0.875)
    write_card(run, RunReport.load(run), PublishArguments())
    again = replace(to, message=headline(RunReport.load(run)))
    for _ in range(2):  # the second time nothing has changed
        assert send(run, again) == f"{hub.url}/you/x/discussions/2"
        assert capsys.readouterr().out.splitlines()[-1] == f"{hub.url}/you/x/discussions/2"
    assert (sorted(repo.pulls), hub.count("commit")) == ([1, 2], 2)
    assert json.loads(sent(repo, "refs/pr/2")["all_results.json"])["accuracy"] == 0.875
    assert list(sent(repo, "refs/pr/1")) == list(sent(repo)) == ["README.md"]


def test_what_a_pull_request_holds_is_not_published_yet(run, hub):
    """Main's own text is no newer for it: both were edited, and the user has to decide."""
    send(run)
    repo = hub.repo("me/x")
    write_into_card("on the hub", repo)
    write_into_card("here", run)
    send(run, replace(TO, create_pr=True), keep_card="local")
    error = stopped(run)
    assert str(error).startswith("the card was edited both in ")
    assert owner_text((run / "README.md").read_text("utf-8")) == "here"


def test_stale_shards_are_removed(run, hub, capsys):
    old = {"config.json": b"{}", "task.json": b'{"task": "nli"}', "notes.txt": b"mine", "chat_template.jinja": b"mine"}
    stale = ["merges.txt", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    stale += ["model.safetensors.index.json", "vocab.json"]
    repo = hub.add_repo("me/x", old | dict.fromkeys(stale, b"old"), private=True)
    send(run)
    assert list(sent(repo)) == sorted([*SENT, "chat_template.jinja", "notes.txt"])
    assert (hub.count("commit"), messages(repo)) == (1, ["add files", "a release"])
    removed = ", ".join(f"{name} (removed)" for name in stale)
    assert capsys.readouterr().out.splitlines()[0] == f"sent and compared: {', '.join(SENT)}, {removed}"


def test_stale_files_alone_are_a_reason_to_commit(run, hub, capsys):
    send(run)
    repo = hub.repo("me/x")
    repo.commit("by hand", {"model-00001-of-00002.safetensors": b"old"})
    send(run)
    assert (list(sent(repo)), messages(repo)) == (SENT, ["a release", "by hand", "a release"])
    assert capsys.readouterr().out.splitlines()[-2] == "sent and compared: model-00001-of-00002.safetensors (removed)"


def test_the_first_line_of_a_commit(run):
    report = RunReport.load(run)
    assert headline(report) == "nli, accuracy 0.75 on validation"
    report.results = {}
    assert headline(report) == "nli"


def test_dry_run_needs_no_hub(run, hub, monkeypatch, capsys, loads):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    before = digests(run)
    dry_run(release_of(run), "me/x")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[: len(SENT)]] == SENT
    assert f"{(run / 'model.safetensors').stat().st_size:>15,}  model.safetensors" in lines
    assert 'model_id = "me/x"' in lines and lines[-1] == "nothing was sent: this is what me/x would get"
    assert (hub.requests, loads, digests(run)) == ([], [run], before)


# the card of two owners


def test_a_newer_run_updates_the_results_and_keeps_the_owners_text(run, hub, kogpt2_folder, tmp_path):
    send(run)
    repo = hub.repo("me/x")
    repo.commit("edit", {"README.md": card(repo).replace("tags:\n", "tags:\n- mine\n").encode()})
    write_into_card("내가 Hub에서 쓴 글.", repo)
    newer = write_run(tmp_path / "newer", kogpt2_folder, accuracy=0.875)
    send(newer)
    assert (owner_text(card(repo)), "\n- mine\n" in card(repo)) == ("내가 Hub에서 쓴 글.", True)
    assert "**accuracy 0.875**" in card(repo) and "0.750" not in card(repo)
    assert json.loads(repo.files["all_results.json"])["accuracy"] == 0.875
    assert (newer / "README.md").read_bytes() == repo.files["README.md"]
    assert hub.count("put") == LARGE  # the weights are those of the first run


BY_HAND = """\
  - task:
      type: text-classification
    dataset:
      name: KLUE NLI
      type: klue/klue
    metrics:
    - type: accuracy
      value: 0.71
      name: accuracy
"""


def add_result(where: Path | Repo, result: str = BY_HAND) -> None:
    """What an owner does: add a result at the end of model-index, here or on the Hub's page."""
    text = where.joinpath("README.md").read_text("utf-8") if isinstance(where, Path) else card(where)
    front, rest = text.split("\n---\n", 1)
    text = f"{front}\n{result}---\n{rest}"
    if isinstance(where, Path):
        (where / "README.md").write_text(text, "utf-8")
    else:
        where.commit("edit", {"README.md": text.encode()})


def figures(text: str) -> dict[str, list[float]]:
    """{data set: values} of the one model in model-index."""
    (model,) = yaml.safe_load(split_front(text)[0])["model-index"]
    return {result["dataset"]["type"]: [m["value"] for m in result["metrics"]] for result in model["results"]}


@pytest.mark.parametrize("texts", ["none", "hub"])
def test_a_result_that_the_owner_added_on_the_hub_stays_when_a_newer_run_is_published(
    run, hub, kogpt2_folder, tmp_path, texts
):
    send(run)
    repo = hub.repo("me/x")
    add_result(repo)
    newer = write_run(tmp_path / "newer", kogpt2_folder, accuracy=0.875)
    if texts != "none":
        write_into_card("Mine.", repo)
    for _ in range(2):
        send(newer)
        assert figures(card(repo)) == {"local-files": [1.5, 0.875], "klue/klue": [0.71]}
        assert (newer / "README.md").read_bytes() == repo.files["README.md"]
        assert owner_text(card(repo)) == ("" if texts == "none" else "Mine.")
    assert hub.count("commit") == 2


def test_a_result_is_corrected_and_removed_where_the_hub_has_it(run, hub):
    send(run)
    repo = hub.repo("me/x")
    add_result(repo)
    send(run)  # it comes home
    assert figures((run / "README.md").read_text("utf-8"))["klue/klue"] == [0.71]
    repo.commit("edit", {"README.md": card(repo).replace("0.71", "0.61").encode()})
    send(run)
    assert figures(card(repo))["klue/klue"] == figures((run / "README.md").read_text("utf-8"))["klue/klue"] == [0.61]
    repo.commit("edit", {"README.md": card(repo).replace(BY_HAND.replace("0.71", "0.61"), "").encode()})
    send(run)
    assert figures(card(repo)) == figures((run / "README.md").read_text("utf-8")) == {"local-files": [1.5, 0.75]}


def test_a_result_counts_as_an_edit(run, hub):
    send(run)
    repo = hub.repo("me/x")
    add_result(run)
    send(run)
    assert figures(card(repo)) == {"local-files": [1.5, 0.75], "klue/klue": [0.71]}
    add_result(run, BY_HAND.replace("klue/klue", "me/rows"))
    write_into_card("on the hub", repo)
    assert str(stopped(run)).startswith("the card was edited both in ")
    send(run, keep_card="local")
    assert figures(card(repo)) == {"local-files": [1.5, 0.75], "klue/klue": [0.71], "me/rows": [0.71]}
    assert owner_text(card(repo)) == ""


def test_what_was_edited_on_the_hub_comes_home(run, hub):
    write_into_card("before the release", run)
    send(run)
    write_into_card("on the hub", hub.repo("me/x"))
    send(run)
    assert owner_text((run / "README.md").read_text("utf-8")) == "before the release\non the hub"
    assert messages(hub.repo("me/x")) == ["a release", "edit"]


def test_a_card_that_was_there_first_keeps_its_text(run, hub):
    mine = b"---\nlicense: mit\nthumbnail: x.png\n---\n# Mine\n\nBy hand.\n"
    repo = hub.add_repo("me/x", {"README.md": mine}, private=True)
    send(run)
    assert "# Mine\n\nBy hand." in card(repo) and "thumbnail: x.png" in card(repo)
    assert "license: cc-by-nc-sa-4.0" in card(repo) and "**accuracy 0.750**" in card(repo)


def edited_twice(run: Path, hub: HubServer) -> Repo:
    send(run)
    write_into_card("here", run)
    write_into_card("on the hub", hub.repo("me/x"))
    return hub.repo("me/x")


def test_edited_on_both_sides(run, hub, loads):
    repo = edited_twice(run, hub)
    error = stopped(run)
    assert str(error) == (
        f"the card was edited both in {run / 'README.md'} and on the Hub (me/x); choose with --keep_card local or "
        "--keep_card hub, or copy the one into the other by hand"
    )
    assert (messages(repo), len(loads)) == (["a release", "edit"], 1)


@pytest.mark.parametrize(("keep", "text"), [("local", "here"), ("hub", "on the hub")])
def test_edited_on_both_sides_and_decided(run, hub, keep, text):
    repo = edited_twice(run, hub)
    send(run, keep_card=keep)
    assert owner_text(card(repo)) == owner_text((run / "README.md").read_text("utf-8")) == text
    send(run)  # decided for good
    assert hub.count("commit") == (2 if keep == "local" else 1)


def test_a_card_that_nobody_can_load_is_not_sent(run, hub):
    write_into_card("See ![the plot](plot.png).", run)
    error = stopped(run)
    assert str(error).startswith("the card is not fit to be published: README.md line ")
    assert "plot.png" in str(error) and str(error).endswith("; nothing was sent")
    assert hub.repos == {}


# others at work


def test_somebody_commits_in_between(run, hub, capsys, loads):
    send(run)
    repo = hub.repo("me/x")
    edit_json(run / "all_results.json", accuracy=0.875)
    hub.before("commit", lambda: write_into_card("그사이 쓴 글.", repo))
    send(run)
    assert messages(repo) == ["a release", "edit", "a release"]
    assert owner_text(card(repo)) == "그사이 쓴 글." and "**accuracy 0.875**" in card(repo)
    assert capsys.readouterr().err == "me/x has changed in the meantime; reading it again\n"
    assert hub.count("put") == LARGE


def test_two_publishers_at_once(run, hub, kogpt2_folder, tmp_path):
    """Both find that the repository is free; the one that is later keeps what the other one's owner wrote."""
    other = write_run(tmp_path / "other", kogpt2_folder, accuracy=0.5)
    write_into_card("of the other one", other)
    client = Hub()  # one for both: each would close the connections of the one before
    hub.before("commit", lambda: send(other, replace(TO, message="the other one"), client))
    send(run, hub=client)
    repo = hub.repo("me/x")
    assert messages(repo) == ["the other one", "a release"]
    assert owner_text(card(repo)) == "of the other one" and "**accuracy 0.750**" in card(repo)


def test_two_publishers_with_a_text_each(run, hub, kogpt2_folder, tmp_path):
    other = write_run(tmp_path / "other", kogpt2_folder)
    write_into_card("of the other one", other)
    write_into_card("mine", run)
    client = Hub()
    hub.before("commit", lambda: send(other, hub=client))
    error = stopped(run, hub=client)
    assert str(error).startswith("the card was edited both in ")
    assert owner_text(card(hub.repo("me/x"))) == "of the other one"


def test_another_task_takes_the_name_in_between(run, hub):
    model = {"config.json": b"{}", "task.json": b'{"task": "qa"}'}
    hub.before("create", lambda: hub.add_repo("me/x", model, private=True))
    error = stopped(run)
    assert str(error).startswith("me/x holds a model for qa; choose another --repo_id")
    assert sent(hub.repo("me/x")) == model


def test_others_that_never_stop(run, hub, capsys):
    repo = hub.add_repo("me/x", private=True)
    hub.before("commit", lambda: repo.commit("again", {"notes.txt": str(len(repo.commits)).encode()}), times=None)
    assert str(stopped(run)) == "me/x is changed by others all the time; try again later"
    assert capsys.readouterr().err.count("has changed in the meantime") == hub.count("commit") == 5
    assert list(sent(repo)) == ["notes.txt"]


# a Hub in trouble


def test_a_commit_that_is_refused_for_a_while(run, hub, naps, capsys):
    hub.fail("commit", 503, times=2)
    send(run)
    assert (messages(hub.repo("me/x")), hub.count("commit"), hub.count("put")) == (["a release"], 3, LARGE)
    assert naps == [1, 2]
    told = "sending to me/x: the Hub answers 503 (Service Unavailable); trying again in"
    assert capsys.readouterr().err.splitlines() == [f"{told} 1 s", f"{told} 2 s"]


def test_a_commit_that_has_to_wait(run, hub, naps):
    hub.fail("commit", 429, retry_after=30)
    send(run)
    assert (naps, messages(hub.repo("me/x"))) == ([30], ["a release"])


def test_a_commit_that_is_refused_for_ever(run, hub, naps, tmp_path):
    hub.fail("commit", 503, times=None)
    error = stopped(run, replace(TO, tag="v1"))
    assert str(error) == "sending to me/x: the Hub answers 503 (Service Unavailable)"
    flags = "--repo_id me/x --tag v1 --commit_message 'a release'"
    assert error.resume == f"python scripts/publish.py {shlex.quote(str(run))} {flags}"
    assert (naps, hub.count("commit"), hub.count("put")) == (list(PAUSES), 9, LARGE)
    repo = hub.repo("me/x")
    assert (messages(repo), repo.tags, repo.private) == ([], {}, True)
    hub.heal()
    send(run, replace(TO, tag="v1"))
    assert (hub.count("put"), repo.tags, list(sent(repo))) == (LARGE, {"v1": repo.head.id}, SENT)


@pytest.mark.parametrize(
    ("route", "fault", "message"),
    [
        ("create", 403, "making me/x: the Hub refuses ("),
        ("preupload", 500, "sending to me/x: the Hub answers 500 ("),
        ("batch", None, "sending to me/x: the Hub cannot be reached (RemoteProtocolError: "),
        ("put", 500, "sending to me/x: the Hub answers 500 ("),
        ("put", 403, "sending to me/x: the Hub refuses ("),
        ("put", None, "sending to me/x: the Hub cannot be reached (RuntimeError: "),
        ("tree", None, "comparing me/x: the Hub cannot be reached (RemoteProtocolError: "),
        ("tag", 403, "setting the tag v1: the Hub refuses ("),
    ],
)
def test_wherever_it_stops_the_command_goes_on(run, hub, route, fault, message):
    """A fault of None is a connection that breaks."""
    if fault:
        hub.fail(route, fault, times=None)
    else:
        hub.drop(route, times=None)
    to = replace(TO, tag="v1")
    assert str(stopped(run, to)).startswith(message)
    hub.heal()
    send(run, to)
    repo = hub.repo("me/x")
    assert (messages(repo), list(sent(repo)), repo.tags) == (["a release"], SENT, {"v1": repo.head.id})


def test_storage_in_trouble_for_a_while(run, hub, hub_naps, naps):
    hub.fail("put", 500, times=3)
    send(run)
    assert (hub.count("put"), len(hub_naps), naps) == (LARGE + 3, 3, [])
    assert list(sent(hub.repo("me/x"))) == SENT


def test_storage_in_trouble_for_longer_than_the_client_tries(run, hub, naps):
    hub.fail("put", 500, times=14)
    send(run)
    assert naps[0] == 1 and messages(hub.repo("me/x")) == ["a release"]


def test_an_upload_that_breaks_off_in_the_middle(run, hub, naps):
    hub.drop("put", times=2)
    send(run)
    repo = hub.repo("me/x")
    assert repo.files["model.safetensors"] == (run / "model.safetensors").read_bytes()
    assert (hub.count("put"), messages(repo), naps) == (LARGE + 2, ["a release"], [])


def test_the_answer_to_the_commit_is_lost(run, hub, naps):
    hub.drop("commit", after=True)
    send(run, replace(TO, tag="v1"))
    repo = hub.repo("me/x")
    assert (messages(repo), hub.count("commit"), naps, repo.tags) == (["a release"], 1, [1], {"v1": repo.head.id})


def test_the_answer_to_a_commit_that_removes_files_is_lost(run, hub, naps):
    """The second attempt would remove what is gone: it finds that the branch has moved on."""
    repo = hub.add_repo("me/x", {"vocab.json": b"{}"}, private=True)
    hub.drop("commit", after=True)
    send(run, replace(TO, tag="v1"))
    assert (messages(repo), list(sent(repo)), repo.tags) == (["add files", "a release"], SENT, {"v1": repo.head.id})


@pytest.mark.parametrize("route", ["create", "branch", "tag", "settings"])
def test_other_answers_that_are_lost(run, hub, route):
    if route == "settings":
        hub.add_repo("me/x", private=True)
    hub.drop(route, after=True)
    send(run, replace(TO, tag="v1", revision="dev", public=route == "settings"))
    repo = hub.repo("me/x")
    assert (list(sent(repo, "v1")), repo.private) == (SENT, route != "settings")


def test_a_card_that_the_hub_does_not_accept(run, hub, naps):
    hub.fail("yaml", 400, message='"license" must be one of ...')
    assert str(stopped(run)) == 'sending to me/x: the Hub answers 400 ("license" must be one of ...)'
    assert (naps, hub.count("commit")) == ([], 0)


def test_no_room(run, hub, naps):
    hub.quota(1000)
    error = stopped(run)
    assert str(error) == (
        "sending to me/x: no room is left for it on the Hub (Private repository storage limit reached, please upgrade your "
        "plan to increase your storage limit.); free some, or publish to another namespace"
    )
    assert (naps, hub.count("put"), messages(hub.repo("me/x"))) == ([], 0, [])
    hub.quota(None)
    send(run)
    assert list(sent(hub.repo("me/x"))) == SENT


def test_a_token_that_is_revoked_half_way(run, hub, monkeypatch, naps):
    hub.revoke(ME, "put", after=LARGE)
    error = stopped(run)
    assert str(error) == (
        "sending to me/x: the Hub does not accept the token (revoked, expired?); log in again with `hf auth login`, or set "
        "HF_TOKEN"
    )
    assert (naps, hub.count("commit"), messages(hub.repo("me/x"))) == ([], 0, [])
    hub.add_account("me", YOU)
    monkeypatch.setenv("HF_TOKEN", YOU)
    send(run)
    assert (hub.count("put"), messages(hub.repo("me/x")), list(sent(hub.repo("me/x")))) == (LARGE, ["a release"], SENT)


def test_what_arrived_is_not_what_was_sent(run, hub):
    hub.before("tree", lambda: hub.repo("me/x").files.update({"config.json": b"{}"}))
    error = stopped(run, replace(TO, tag="v1"))
    repo = hub.repo("me/x")
    assert str(error) == "me/x does not hold what was sent: config.json; send it again"
    assert repo.tags == {}
    send(run, replace(TO, tag="v1"))
    assert json.loads(repo.files["config.json"])["use_cache"] is True
    assert repo.tags == {"v1": repo.head.id}


def test_a_file_that_did_not_arrive(run, hub):
    hub.before("tree", lambda: hub.repo("me/x").files.pop("model.safetensors"))
    assert str(stopped(run)) == "me/x does not hold what was sent: model.safetensors; send it again"


def test_xet_is_refused(run, hub, monkeypatch):
    pytest.importorskip("hf_xet")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    hub.xet(403)
    error = stopped(run)
    assert str(error).startswith("sending to me/x: the Hub cannot be reached (ConnectionError: ")
    assert str(error).endswith("; HF_HUB_DISABLE_XET=1 sends the files another way")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    send(run)
    assert list(sent(hub.repo("me/x"))) == SENT


def test_ctrl_c_during_the_commit(run, hub):
    before = digests(run)
    hub.before("commit", lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT))
    release = release_of(run)
    with pytest.raises(Interrupted) as caught:
        publish(release, TO)
    assert str(caught.value) == "interrupted; the run's folder is as it was, and the last line goes on"
    assert caught.value.resume == resume_command(release, TO)
    assert digests(run) == before
    send(run)
    assert (messages(hub.repo("me/x")), list(sent(hub.repo("me/x")))) == (["a release"], SENT)


# what stops it here


def test_an_unknown_licence_is_asked_for_before_the_hub_is(run, hub):
    report = RunReport.load(run)
    report.base = Base(name="my-model")
    report.save(run)
    error = stopped(run)
    assert str(error) == "the licence of my-model is not known; look it up and name it with --license"
    assert hub.requests == []
    assert str(stopped(run, license="mitt")) == "--license mitt is not a licence id of the Hub; did you mean mit?"
    send(run, license="mit")
    assert "license: mit\n" in card(hub.repo("me/x"))


def test_without_a_login(run, hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    error = stopped(run)
    assert str(error) == "nobody is logged in to the Hub; run `hf auth login`, or set HF_TOKEN in the environment"


@pytest.mark.parametrize(
    ("secret", "kind"), [(ME, "Hugging Face token"), ("correct-horse-battery", "access token of yours")]
)
def test_a_secret_of_ones_own_stops_it(run, hub, monkeypatch, secret, kind):
    monkeypatch.setenv("WANDB_API_KEY", "correct-horse-battery")
    with open(run / "loss.png", "ab") as file:
        file.write(secret.encode())
    error = stopped(run)
    assert str(error).startswith("loss.png holds what looks like a secret (") and kind in str(error)
    assert secret not in str(error) and hub.repos == {}


def test_a_model_that_does_not_load_is_not_sent(run, hub, monkeypatch):
    def check(folder: Path, staged: Path) -> None:
        raise UserError(f"{folder}: what would be published cannot be loaded; nothing was sent")

    monkeypatch.setattr(release_module, "check_loads", check)
    assert str(stopped(run)) == f"{run}: what would be published cannot be loaded; nothing was sent"
    assert hub.repos == {}


def test_a_full_disk(run, hub, monkeypatch):
    def copyfile(source: Path, destination: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(destination))

    monkeypatch.setattr(staging.shutil, "copyfile", copyfile)
    error = stopped(run)
    assert str(error).endswith("/all_results.json: No space left on device; nothing was sent")
    assert (hub.repos, list(run.glob(".publish-*"))) == ({}, [])


def test_a_folder_that_cannot_be_written_to_is_published_all_the_same(run, hub, monkeypatch, capsys, tmp_path):
    def refuse(*_: object, **__: object) -> None:
        raise UserError("read-only")

    def temporary(suffix: str | None, prefix: str, dir: Path | None) -> str:
        if dir is not None:
            raise PermissionError(errno.EACCES, "Permission denied")
        (tmp_path / "elsewhere").mkdir()
        return str(tmp_path / "elsewhere")

    before = digests(run)
    monkeypatch.setattr(release_module, "make_writable", refuse)
    monkeypatch.setattr("tempfile.mkdtemp", temporary)
    send(run)
    assert (list(sent(hub.repo("me/x"))), digests(run)) == (SENT, before)
    assert capsys.readouterr().err == f"{run} cannot be written to: the published card was not kept there\n"
    assert not (tmp_path / "elsewhere").exists()


def test_a_damaged_note_of_the_last_release_is_as_none(run, hub):
    send(run)
    for content in ("", "no json", "[]", '{"me/x": 1}'):
        (run / ".published.json").write_text(content)
        send(run)
    assert messages(hub.repo("me/x")) == ["a release"]


# the command that goes on


@pytest.fixture(scope="module")
def read_command() -> Callable[[str], tuple]:
    """What publish.py makes of a command line: its own arguments, those of the card, and the folder."""
    spec = importlib.util.spec_from_file_location("script_publish", ROOT / "scripts" / "publish.py")
    script = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, spec.name, script)
        spec.loader.exec_module(script)

        def read(command: str) -> tuple:
            program, path, *words = shlex.split(command)
            assert program == "python" and (ROOT / path).samefile(ROOT / "scripts" / "publish.py")
            types = (script.ReleaseArguments, PublishArguments)
            return parse_dataclasses(types, "", words, positional="run_folder", required=False)

        yield read


@pytest.mark.parametrize(
    ("to", "choices", "own"),
    [
        ({}, {}, {}),
        ({"public": True, "revision": "dev/1", "tag": "v1"}, {"license": "mit", "dataset_license": "cc-by-4.0"}, {}),
        (
            {"message": "it's $HOME; 둘째 판"},
            {"base_model": "skt/kogpt2-base-v2", "allow_nd_dataset": True},
            {"keep_card": "hub"},
        ),
        ({"create_pr": True}, {"card_language": "ko", "card_examples": 3}, {"keep_card": "local", "predictions": True}),
    ],
)
@pytest.mark.parametrize("where", ["the checkout", "elsewhere"])
def test_the_command_says_all_that_was_said(run, tmp_path, monkeypatch, read_command, to, choices, own, where):
    monkeypatch.chdir(ROOT if where == "the checkout" else tmp_path)
    monkeypatch.setattr("sys.argv", ["scripts/publish.py" if where == "the checkout" else f"{ROOT}/scripts/publish.py"])
    release, destination = release_of(run, **choices, **own), Destination("me/x", **({"message": None} | to))
    if destination.message is None:
        destination = replace(destination, message=headline(release.report))
    args, publish_args, folder = read_command(resume_command(release, destination))
    assert Path(folder) == run
    assert replace(publish_args, hub_public=False) == release.publish_args
    assert (args.keep_card, args.predictions) == (release.keep_card, release.predictions)
    assert destination == Destination(
        repo_id=args.repo_id,
        public=publish_args.hub_public,
        revision=args.revision,
        tag=args.tag,
        create_pr=args.create_pr,
        message=args.commit_message or headline(release.report),
    )
    assert (args.dry_run, args.check) == (False, None)


def test_the_command_of_a_wheel_names_the_script_beside_the_one_that_runs(run, tmp_path, monkeypatch, read_command):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(ROOT / "scripts" / "run_nli.py")])
    _, _, folder = read_command(resume_command(release_of(run), Destination("me/x", message="m")))
    assert Path(folder) == run


def test_the_command_names_what_the_hub_was_told(run, hub, read_command):
    hub.fail("commit", 403)
    args, _, folder = read_command(stopped(run, Destination("x", message="m")).resume)
    assert (args.repo_id, args.commit_message, Path(folder)) == ("me/x", "m", run)


# as a part of a run


def arguments(run: Path, publishing: PublishArguments, model: str = "", **more: object) -> SimpleNamespace:
    """What publishing looks at of RunArguments."""
    given = {"output_dir": str(run), "do_train": True, "do_eval": True, "save_strategy": "epoch", "save_total_limit": 2}
    given |= {"num_train_epochs": 3.0, "publish": True, "hub_model_id": None, "hub_revision": None}
    return SimpleNamespace(
        model=model_args(model), data=DataArguments(sample_data=True), training=SimpleNamespace(**(given | more)),
        publishing=publishing,
    )  # fmt: skip


def pushing(**more: object) -> PublishArguments:
    return PublishArguments(**({"license": "mit"} | more))


def ask(run: Path, publishing: PublishArguments, model: str, **more: object) -> None:
    preflight(get_task("nli"), arguments(run, publishing, model, **more))


def end(run: Path, publishing: PublishArguments, *, first: bool = True, **more: object) -> None:
    """What a run does last."""
    report = RunReport.load(run)
    state = SimpleNamespace(log_history=report.log)
    trainer = SimpleNamespace(is_world_process_zero=lambda: first, state=state, run_config=report.config)
    publish_run(trainer, report, report.results, arguments(run, publishing, **more))


def refused(*call: object, **more: object) -> str:
    with pytest.raises(UserError) as caught:
        ask(*call, **more)
    return str(caught.value)


def test_preflight_of_a_run(hub, tmp_path, kogpt2_folder):
    ask(tmp_path / "my-nli", pushing(), kogpt2_folder)
    assert [seen.route for seen in hub.requests] == ["whoami", "info"]
    assert (hub.requests[-1].path, hub.repos) == ("/api/models/me/my-nli", {})
    hub.add_repo("lab/x")
    message = refused(tmp_path / "my-nli", pushing(), kogpt2_folder, hub_model_id="lab/x")
    assert message == "--hub_model_id lab/x: me may not write to lab; possible are me"


def test_preflight_is_for_the_first_process_and_for_those_that_publish(hub, tmp_path, kogpt2_folder, monkeypatch):
    ask(tmp_path, PublishArguments(), kogpt2_folder, publish=False)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("RANK", "1")
    ask(tmp_path, pushing(license="mitt"), kogpt2_folder, do_train=False)
    monkeypatch.setenv("RANK", "0")
    assert refused(tmp_path, pushing(), kogpt2_folder).startswith("nobody is logged in to the Hub")
    assert hub.requests == []


@pytest.mark.parametrize("missing", ["do_train", "do_eval"])
def test_what_was_not_trained_or_measured_is_not_published(hub, tmp_path, kogpt2_folder, missing):
    message = refused(tmp_path, pushing(), kogpt2_folder, **{missing: False})
    assert message == (
        "--push_to_hub publishes a model that was trained and measured: leave --no_do_train, --no_do_eval out"
    )
    assert hub.requests == []


def test_a_licence_that_is_not_known(hub, tmp_path, kogpt2_folder):
    message = refused(tmp_path, pushing(license=None), kogpt2_folder)
    assert message == "the licence of kogpt2 is not known; look it up and name it with --license"
    assert hub.requests == []


def test_a_run_publishes_itself(run, hub, loads):
    (run / "README.md").unlink()
    end(run, pushing(license=None), hub_model_id="me/x")
    repo = hub.repo("me/x")
    assert (messages(repo), list(sent(repo)), repo.private) == (["nli, accuracy 0.75 on validation"], SENT, True)
    assert loads == [run]


def test_the_other_processes_return_at_once(run, hub):
    before = digests(run)
    for trained, first in ((True, False), (False, True)):
        end(run, pushing(), first=first, do_train=trained)
    assert (hub.requests, digests(run)) == ([], before)


def test_a_run_that_does_not_publish_gets_its_card(run, hub):
    (run / "README.md").unlink()
    end(run, PublishArguments(), publish=False)
    assert (run / "README.md").read_text("utf-8").startswith("---\nbase_model: skt/kogpt2-base-v2\n")
    assert hub.requests == []
