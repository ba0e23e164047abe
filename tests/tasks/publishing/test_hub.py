"""What the Hub would refuse is asked before anything is done: each refusal with its message, and nothing is changed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from tasks.errors import UserError
from tasks.publishing import refusals
from tasks.publishing.hub import Destination, Hub, Remote, check_repo_id, stale_files
from tasks.publishing.refusals import PAUSES, Conflict
from tests.helpers.hub_server import ME, HubServer

pytest_plugins = ["tests.helpers.hub_fixtures"]

YOU = "hf_" + "y" * 34
CARD = "---\nlicense: mit\n---\n# 모델\n"
MODEL = {"config.json": b"{}", "README.md": CARD.encode(), "task.json": b'{"task": "nli"}', "model.safetensors": b"1"}


@pytest.fixture(autouse=True)
def naps(monkeypatch) -> list[float]:
    """The pauses between attempts; nobody sleeps."""
    pauses: list[float] = []
    monkeypatch.setattr(refusals, "time", SimpleNamespace(sleep=pauses.append))
    return pauses


def state(server: HubServer) -> dict:
    """All that a user could see change."""
    return {
        name: (repo.private, dict(repo.branches), dict(repo.tags), list(repo.pulls), set(repo.objects))
        for name, repo in server.repos.items()
    }


def preflight(server: HubServer, destination: Destination, task: str = "nli") -> tuple[Destination, Remote]:
    """Ask, and see that nothing was done beside."""
    before, first = state(server), len(server.requests)
    try:
        return Hub().preflight(destination, task)
    finally:
        assert state(server) == before
        assert {seen.method for seen in server.requests[first:]} <= {"GET", "HEAD"}


def refused(server: HubServer, destination: Destination, task: str = "nli") -> str:
    with pytest.raises(UserError) as caught:
        preflight(server, destination, task)
    return str(caught.value)


def scopes(kind: str, name: str, *permissions: str) -> list[dict]:
    return [{"entity": {"type": kind, "name": name}, "permissions": list(permissions)}]


def login(server: HubServer, monkeypatch, role: str = "write", **more: object) -> None:
    """Go on as ``me``, with another token."""
    server.add_account("me", YOU, role=role, **more)
    monkeypatch.setenv("HF_TOKEN", YOU)


# who asks

READ_ONLY = (
    "the token may only read; make one with write access at https://huggingface.co/settings/tokens, and log in with "
    "`hf auth login`"
)


def test_nobody_is_logged_in(hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    message = "nobody is logged in to the Hub; run `hf auth login`, or set HF_TOKEN in the environment"
    assert refused(hub, Destination("me/x")) == message
    assert hub.requests == []


@pytest.mark.parametrize("token", ["revoked", "unknown"])
def test_a_token_that_is_no_longer_good(hub, monkeypatch, naps, token):
    if token == "revoked":
        hub.revoke(ME)
    else:
        monkeypatch.setenv("HF_TOKEN", YOU)
    assert refused(hub, Destination("me/x")) == (
        "logging in to the Hub: the Hub does not accept the token (revoked, expired?); log in again with `hf auth login`, "
        "or set HF_TOKEN"
    )
    assert (naps, hub.count("whoami")) == ([], 1)


def test_a_token_that_is_revoked_between_two_questions(hub):
    """It must not look like a repository that is not there yet."""
    hub.revoke(ME, "whoami", after=1)
    message = refused(hub, Destination("me/x"))
    assert message.startswith("reading me/x: the Hub does not accept the token (revoked, expired?)")


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("create_pr", [False, True])
def test_a_token_that_may_only_read(hub, monkeypatch, exists, create_pr):
    if exists:
        hub.add_repo("me/x", MODEL, private=True)
    login(hub, monkeypatch, "read")
    assert refused(hub, Destination("me/x", create_pr=create_pr)) == READ_ONLY


@pytest.mark.parametrize(
    "scoped",
    [
        [],
        scopes("user", "me", "repo.content.read"),
        scopes("user", "you", "repo.write"),
        scopes("model", "me/y", "repo.write"),
    ],
)
def test_a_fine_grained_token_without_the_right_to_write(hub, monkeypatch, scoped):
    login(hub, monkeypatch, "fineGrained", scoped=scoped)
    assert refused(hub, Destination("me/x")) == (
        "the token's fine-grained permissions do not let it write to me/x; add `repo.write` for me at "
        "https://huggingface.co/settings/tokens"
    )


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("scoped", [scopes("user", "me", "repo.write"), scopes("model", "me/x", "repo.write")])
def test_a_fine_grained_token_with_the_right_to_write(hub, monkeypatch, exists, scoped):
    if exists:
        hub.add_repo("me/x", MODEL, private=True)
    login(hub, monkeypatch, "fineGrained", scoped=scoped)
    assert preflight(hub, Destination("me/x"))[1].exists == exists


def test_somebody_elses_name(hub):
    hub.add_account("me", ME, orgs={"lab": "write", "club": "read"})
    message = "--repo_id you/x: me may not write to you; possible are me, lab, club"
    assert refused(hub, Destination("you/x")) == message
    hub.add_repo("you/x", MODEL)
    assert refused(hub, Destination("you/x", public=True)) == message


def test_an_organisation_where_one_may_only_read(hub):
    hub.add_account("me", ME, orgs={"lab": "read"})
    assert refused(hub, Destination("lab/x")) == "--repo_id lab/x: me may only read in lab; ask for write access there"


@pytest.mark.parametrize("role", ["write", "admin", "contributor"])
def test_an_organisation_where_one_may_write(hub, role):
    hub.add_account("me", ME, orgs={"lab": role})
    destination, remote = preflight(hub, Destination("lab/x"))
    assert (destination.repo_id, remote) == ("lab/x", Remote())
    hub.add_repo("lab/x", MODEL, private=True)
    assert preflight(hub, Destination("lab/x"))[1].head == hub.repo("lab/x").head.id


def test_no_right_to_write_to_a_repository_that_exists(hub, monkeypatch):
    """The token names the repository, but as a data set: only the Hub itself can tell."""
    hub.add_repo("me/x", MODEL)
    login(hub, monkeypatch, "fineGrained", scoped=scopes("dataset", "me/x", "repo.write"))
    assert refused(hub, Destination("me/x", public=True)) == (
        "asking to write to me/x: the Hub refuses (Forbidden: pass `create_pr=1` as a query parameter to create a Pull "
        "Request.); use a token with write access, or another --repo_id"
    )


# where it goes

CHARACTERS = (
    "Repo id must use alphanumeric chars, '-', '_' or '.'. The name cannot start or end with '-' or '.' and the maximum "
    "length is 96"
)


@pytest.mark.parametrize(
    ("repo_id", "reason"),
    [
        ("a/b/c", "Repo id must be in the form 'repo_name' or 'namespace/repo_name'"),
        ("me/a b", CHARACTERS),
        ("me/-x", CHARACTERS),
        ("me/x-", CHARACTERS),
        ("me/요약", CHARACTERS),
        ("me/", CHARACTERS),
        ("/x", CHARACTERS),
        ("https://huggingface.co/me/x", "Repo id must be in the form 'repo_name' or 'namespace/repo_name'"),
        ("me/a--b", "Cannot have -- or .. in repo_id"),
        ("me/x.git", "Repo_id cannot end by '.git'"),
    ],
)
def test_what_is_no_name(hub, repo_id, reason):
    assert refused(hub, Destination(repo_id)) == f"--repo_id {repo_id}: {reason}; write it as NAME/MODEL"
    assert hub.requests == []


@pytest.mark.parametrize("repo_id", ["me/KoGPT2-Summarize_v1.0", "x", "me/2024.01"])
def test_what_is_a_name(repo_id):
    check_repo_id(repo_id)


def test_a_name_alone_is_ones_own(hub):
    destination, remote = preflight(hub, Destination("x", tag="v1", message="one"))
    assert destination == Destination("me/x", tag="v1", message="one")
    assert remote == Remote()


def test_a_repository_that_holds_what_was_made_elsewhere(hub):
    hub.add_repo("me/x", {"config.json": b"{}"}, private=True)
    assert refused(hub, Destination("me/x")) == (
        "me/x holds a model that these scripts did not make; choose another --repo_id, or a branch of its own with "
        "--revision"
    )


@pytest.mark.parametrize("task", [b"not json", b'["task"]', b"{}"])
def test_a_task_file_of_something_else(hub, task):
    hub.add_repo("me/x", {"config.json": b"{}", "task.json": task}, private=True)
    assert "holds a model that these scripts did not make" in refused(hub, Destination("me/x"))


def test_a_repository_that_holds_a_model_for_another_task(hub):
    hub.add_repo("me/x", MODEL, private=True)
    assert refused(hub, Destination("me/x"), task="qa") == (
        "me/x holds a model for nli; choose another --repo_id, or a branch of its own with --revision"
    )
    assert preflight(hub, Destination("me/x", revision="qa"), task="qa")[1].head is None
    hub.repo("me/x").branch("taken")
    assert "holds a model for nli" in refused(hub, Destination("me/x", revision="taken"), task="qa")


@pytest.mark.parametrize("files", [None, {"README.md": b"# soon"}])
def test_a_repository_without_a_model_is_free(hub, files):
    hub.add_repo("me/x", files, private=True)
    assert preflight(hub, Destination("me/x"))[1].head == hub.repo("me/x").head.id


def test_a_public_repository_asks_for_the_flag(hub):
    hub.add_repo("me/x", MODEL)
    message = "me/x is public, and a release is private unless --hub_public is given; give it, or another name"
    assert refused(hub, Destination("me/x")) == message
    assert not preflight(hub, Destination("me/x", public=True))[1].private
    assert preflight(hub, Destination("me/x", create_pr=True))[1].exists


def test_a_tag_that_stands_for_another_commit(hub):
    repo = hub.add_repo("me/x", MODEL, private=True)
    repo.tag("v1", repo.commits[0].id)
    message = "--tag v1: me/x has this tag already, on another commit; choose a new one"
    assert refused(hub, Destination("me/x", tag="v1")) == message
    repo.tag("v2")
    for tag in ("v2", "v3"):
        preflight(hub, Destination("me/x", tag=tag))
    assert "--tag v2: me/x has this tag already" in refused(hub, Destination("me/x", tag="v2", revision="new"))


def test_a_pull_request_goes_to_main_and_has_no_tag(hub):
    message = "--create_pr opens a pull request on main: leave --revision and --tag out"
    assert refused(hub, Destination("me/x", create_pr=True, tag="v1")) == message
    assert refused(hub, Destination("me/x", create_pr=True, revision="dev")) == message
    assert hub.requests == []


def test_a_pull_request_goes_to_other_peoples_models_too(hub):
    hub.add_repo("you/x", MODEL)
    assert preflight(hub, Destination("you/x", create_pr=True))[1].head == hub.repo("you/x").head.id


def test_a_gated_model_is_not_one_that_is_missing(hub):
    hub.add_repo("you/x", MODEL)
    hub.fail("info", 403, times=None, message="Access to model you/x is restricted", headers={"X-Error-Code": "GatedRepo"})
    message = refused(hub, Destination("you/x", create_pr=True))
    assert message.startswith("reading you/x: the Hub refuses (Access to model you/x is restricted")


# what is there


def test_what_is_read(hub):
    repo = hub.add_repo("me/x", MODEL, private=True)
    files = (".gitattributes", "README.md", "config.json", "model.safetensors", "task.json")
    read = preflight(hub, Destination("me/x"))[1]
    assert read == Remote(exists=True, private=True, head=repo.head.id, files=files, card=CARD, task="nli")
    repo.branch("dev")
    repo.commit("more", {"README.md": b"# dev", "task.json": None}, branch="dev")
    dev = Hub().read(Destination("me/x", revision="dev"))
    assert (dev.head, dev.card, dev.task) == (repo.branches["dev"], "# dev", None)
    new = Hub().read(Destination("me/x", revision="new"))  # it will begin with what main has
    assert new == Remote(exists=True, private=True, head=None, files=files, card=CARD, task="nli")


def test_a_card_in_another_encoding_is_read_as_well_as_it_can_be(hub):
    hub.add_repo("me/x", MODEL | {"README.md": "한".encode("cp949")}, private=True)
    assert preflight(hub, Destination("me/x"))[1].card == "\ufffd\ufffd"


def test_a_card_that_cannot_be_read_is_not_one_that_is_missing(hub, naps):
    """Otherwise its owner's text would be written over."""
    hub.add_repo("me/x", MODEL, private=True)
    hub.fail("resolve", 503, times=20)
    remote = preflight(hub, Destination("me/x"))[1]
    assert (remote.card, remote.task) == (CARD, "nli")
    assert naps and naps == list(PAUSES)[: len(naps)]
    hub.repo("me/x").commit("again", {"README.md": b"# new"})  # which is in no cache
    hub.fail("resolve", 503, times=None)
    message = refused(hub, Destination("me/x"))
    assert message.startswith("reading me/x: the Hub answers 503 (")


# a Hub in trouble


def test_nobody_answers(hub, monkeypatch, naps):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    message = refused(hub, Destination("me/x"))
    assert message == "logging in to the Hub: the Hub cannot be reached (ConnectError: [Errno 111] Connection refused)"
    assert (naps, hub.requests) == (list(PAUSES), [])


def test_offline(hub, monkeypatch, naps):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message = "logging in to the Hub: HF_HUB_OFFLINE is set, so nothing can be sent; unset it"
    assert refused(hub, Destination("me/x")) == message
    assert (naps, hub.requests) == ([], [])


@pytest.mark.parametrize("route", ["whoami", "info", "refs", "auth"])
@pytest.mark.parametrize("fault", ["503", "429", "dropped", "page"])
def test_trouble_that_passes(hub, naps, route, fault):
    hub.add_repo("me/x", MODEL, private=True)
    if fault == "dropped":
        hub.drop(route, times=2)
    elif fault == "page":
        hub.fail(route, 502, times=2, html=True)
    else:
        hub.fail(route, int(fault), times=2)
    assert preflight(hub, Destination("me/x", tag="v1"))[1].head == hub.repo("me/x").head.id
    assert (naps, hub.count(route)) == ([1, 2], 3)


def test_a_login_page_in_place_of_the_hub(hub, naps):
    hub.fail("whoami", 200, times=None, html=True)
    told = "the Hub answers with something that is not JSON; a proxy or a login page may stand in between"
    assert refused(hub, Destination("me/x")) == f"logging in to the Hub: {told}"
    assert naps == list(PAUSES)


# small parts


def test_files_of_an_earlier_release():
    sent = ["README.md", "config.json", "model.safetensors", "tokenizer.json"]
    stale = ["model-00001-of-00002.safetensors", "model.safetensors.index.json", "vocab.json", "tokenizer.model", "loss.png"]
    kept = [".gitattributes", "notes.md", "data/model.safetensors", "pytorch_model.bin", "chat_template.jinja", "x.gguf"]
    assert stale_files([*sent, *stale, *kept], sent) == stale


def test_a_repository_that_somebody_else_makes_at_the_same_time(hub):
    """Two runs were both told that it is free: the second one has to look again."""
    hub.before("create", lambda: hub.add_repo("me/x", MODEL, private=True))
    with pytest.raises(Conflict, match="me/x was made by somebody else"):
        Hub().prepare(Destination("me/x"), Remote())
    hub.before("create", lambda: hub.add_repo("me/y"))
    with pytest.raises(Conflict, match="me/y was made by somebody else"):
        Hub().prepare(Destination("me/y"), Remote())  # and it is public


def test_a_repository_is_made_once(hub, naps):
    hub.drop("create", after=True)
    made = Hub().prepare(Destination("me/x"), Remote())
    assert (made.head, made.private, naps) == (hub.repo("me/x").head.id, True, [1])


def test_a_tag_that_somebody_else_sets_at_the_same_time(hub):
    repo = hub.add_repo("me/x", MODEL, private=True)
    hub.before("tag", lambda: repo.tag("v1", repo.commits[0].id))
    remote = Hub().read(Destination("me/x"))
    with pytest.raises(UserError, match="--tag v1: me/x has this tag already, on another commit; choose a new one"):
        Hub().finish(Destination("me/x", tag="v1"), remote, remote.head)
    assert repo.tags == {"v1": repo.commits[0].id}


def test_silence_ends(hub, monkeypatch, naps):
    """huggingface_hub itself would wait for ever."""
    from tasks.publishing import hub as module

    monkeypatch.setattr(module, "TIMEOUT", 0.1)
    hub.delay("whoami", 0.5, times=1)
    assert preflight(hub, Destination("me/x"))[1] == Remote()
    assert naps == [1]
