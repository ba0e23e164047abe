"""The Hub of the tests behaves, towards the real client, as the tests of publishing need it to."""

from __future__ import annotations

import io
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import datasets
import httpx2
import pyarrow.parquet
import pytest
from huggingface_hub import CommitOperationAdd, HfApi, create_repo, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import get_session

from tests.helpers.hub_server import ME, HubServer

pytest_plugins = ["tests.helpers.hub_fixtures"]

YOU = "hf_" + "y" * 34
CARD = b"---\nlicense: mit\ntags: [korean]\n---\n# A model\n"
FILES = {
    "README.md": CARD,
    "config.json": b"{}",
    "empty.bin": b"",
    "model.safetensors": bytes(range(256)) * 4000,
    "plots/loss.png": b"\x89PNG",
    "plots/요약 1.txt": "하나".encode(),
}


@pytest.fixture
def folder(tmp_path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "run"


def add(content: bytes, path: str = "a.txt") -> list[CommitOperationAdd]:
    return [CommitOperationAdd(path, content)]


def refused(call: Callable[[], object], status: int) -> HfHubHTTPError:
    """The error of a call that has to be answered with this status."""
    with pytest.raises(HfHubHTTPError) as caught:
        call()
    assert caught.value.response.status_code == status
    return caught.value


def files_below(folder: str) -> dict[str, bytes]:
    paths = [path for path in Path(folder).rglob("*") if path.is_file() and ".cache" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


# uploads and downloads


def test_upload_and_download_give_the_same_bytes(hub, folder, tmp_path):
    api = HfApi()
    api.create_repo("me/x")
    info = api.upload_folder(repo_id="me/x", folder_path=folder, commit_message="first")

    repo = hub.repo("me/x")
    assert {name: repo.files[name] for name in FILES} == FILES
    assert repo.head.lfs == {"model.safetensors", "plots/loss.png"}  # the client never sends an empty file as a large one
    assert [commit.message for commit in repo.commits] == ["initial commit", "first"]
    assert repo.head.id == info.oid

    local = api.snapshot_download("me/x", local_dir=tmp_path / "copy")
    assert files_below(local) == repo.files
    assert files_below(api.snapshot_download("me/x", revision=info.oid)) == repo.files

    check = api.verify_repo_checksums("me/x", local_dir=folder)
    assert (check.checked_count, check.mismatches, check.extra_paths) == (len(FILES), [], [])
    assert check.missing_paths == [".gitattributes"]  # the Hub's own file
    (folder / "model.safetensors").write_bytes(b"broken")
    (folder / "config.json").write_bytes(b"[]")
    check = api.verify_repo_checksums("me/x", local_dir=folder)
    assert [wrong["path"] for wrong in check.mismatches] == ["config.json", "model.safetensors"]


def test_data_sets_are_served_as_parquet(hub):
    first, second = (io.BytesIO() for _ in range(2))
    for rows, file in ((["하나", "둘"], first), (["셋"], second)):
        pyarrow.parquet.write_table(pyarrow.table({"text": rows}), file)
    card = "---\nconfigs:\n- config_name: two\n  data_files: [{split: train, path: two/*.parquet}]\n---\n"
    repo = hub.add_repo("datasets/me/rows", {"README.md": card.encode(), "two/train.parquet": first.getvalue()})
    old = repo.head.id
    repo.commit("other rows", {"two/train.parquet": second.getvalue()})
    for revision, rows in ((None, ["셋"]), (old, ["하나", "둘"])):
        loaded = datasets.load_dataset("me/rows", "two", revision=revision)
        assert {name: [row["text"] for row in split] for name, split in loaded.items()} == {"train": rows}
    with pytest.raises(datasets.exceptions.DatasetNotFoundError):
        datasets.load_dataset("me/others")
    assert not hub.count("unknown")


def test_metadata_of_files(hub):
    head = hub.add_repo("me/x", FILES).head
    large = get_hf_file_metadata(hf_hub_url("me/x", "model.safetensors"))
    assert large.location.startswith(hub.store_url) and large.commit_hash == head.id
    assert (large.etag, large.size) == (sha256(FILES["model.safetensors"]).hexdigest(), len(FILES["model.safetensors"]))
    small = get_hf_file_metadata(hf_hub_url("me/x", "plots/요약 1.txt", revision="main"))
    assert (small.etag, small.size, small.commit_hash) == (head.oid("plots/요약 1.txt"), 6, head.id)
    assert get_session().get(large.location).content == FILES["model.safetensors"]


@pytest.mark.parametrize("repo_id", ["me/KoGPT2-Summarize_v1.0", "My-Org/x"])
@pytest.mark.parametrize("revision", ["main", "feature/요약"])
def test_names(hub, repo_id, revision):
    hub.add_account("me", ME, orgs={"My-Org": "write"})
    api = HfApi()
    api.create_repo(repo_id)
    api.create_branch(repo_id, branch="feature/요약")
    info = api.create_commit(repo_id, add(b"1"), commit_message="one", revision=revision)
    assert hub.repo(repo_id).branches[revision] == info.oid == api.model_info(repo_id, revision=revision).sha
    assert Path(api.hf_hub_download(repo_id, "a.txt", revision=revision)).read_bytes() == b"1"
    assert not api.repo_exists(repo_id.swapcase())


# who may do what


def test_creating_repositories(hub):
    api = HfApi()
    assert create_repo("me/x", private=True).repo_id == "me/x"  # the function of the module goes to this Hub too
    assert api.create_repo("y").repo_id == "me/y"
    assert (hub.repo("me/x").private, hub.repo("me/y").private) == (True, False)
    assert api.create_repo("me/x", exist_ok=True).repo_id == "me/x"
    refused(lambda: api.create_repo("me/x"), 409)
    refused(lambda: api.create_repo("you/x"), 403)
    refused(lambda: api.create_repo("me/z", token=False), 401)
    api.update_repo_settings("me/x", private=False)
    assert not hub.repo("me/x").private


def scopes(kind: str, name: str, *permissions: str) -> list[dict]:
    return [{"entity": {"type": kind, "name": name}, "permissions": list(permissions)}]


@pytest.mark.parametrize(
    ("account", "reads", "writes", "creates"),
    [
        ({"name": "me", "role": "write"}, True, True, True),
        ({"name": "me", "role": "read"}, True, False, False),
        ({"name": "you", "role": "write"}, False, False, False),
        ({"name": "you", "orgs": {"me": "admin"}}, True, True, True),
        ({"name": "you", "orgs": {"me": "read"}}, True, False, False),
        ({"name": "me", "role": "fineGrained", "scoped": scopes("user", "me", "repo.write")}, True, True, True),
        ({"name": "me", "role": "fineGrained", "scoped": scopes("user", "me", "repo.content.read")}, True, False, False),
        ({"name": "me", "role": "fineGrained", "scoped": scopes("model", "me/x", "repo.write")}, True, True, False),
        ({"name": "me", "role": "fineGrained", "scoped": scopes("model", "me/other", "repo.write")}, False, False, False),
    ],
)
def test_permissions(hub, account, reads, writes, creates):
    hub.add_repo("me/x", FILES, private=True)
    hub.add_account(token=YOU, **account)
    api = HfApi(token=YOU)
    calls = {
        "auth": (lambda: api.auth_check("me/x"), reads),
        "read": (lambda: api.model_info("me/x"), reads),
        "download": (lambda: api.hf_hub_download("me/x", "config.json"), reads),
        "auth write": (lambda: api.auth_check("me/x", write=True), writes),
        "commit": (lambda: api.create_commit("me/x", add(b"1"), commit_message="one"), writes),
        "tag": (lambda: api.create_tag("me/x", tag="v1"), writes),
        "create": (lambda: api.create_repo("me/new"), creates),
    }
    for name, (call, allowed) in calls.items():
        if allowed:
            call()
        else:
            assert refused(call, 403 if reads or name == "create" else 404)


def test_private_repositories_are_hidden(hub):
    hub.add_repo("me/x", FILES, private=True)
    hub.add_account("you", YOU)
    for token, status in ((False, 401), (YOU, 404)):
        api = HfApi(token=token)
        error = refused(lambda api=api: api.model_info("me/x"), status)
        missing = refused(lambda api=api: api.model_info("me/missing"), status)
        assert isinstance(error, RepositoryNotFoundError) and isinstance(missing, RepositoryNotFoundError)
        with pytest.raises(RepositoryNotFoundError):
            api.snapshot_download("me/x")
    hub.repo("me/x").private = False
    assert HfApi(token=False).model_info("me/x").sha == hub.repo("me/x").head.id
    refused(lambda: HfApi(token=False).create_commit("me/x", add(b"1"), commit_message="one"), 401)
    error = refused(lambda: HfApi(token=YOU).create_commit("me/x", add(b"1"), commit_message="one"), 403)
    assert "create_pr=1" in str(error)


def test_what_is_not_there(hub):
    api = HfApi()
    hub.add_repo("me/x", FILES)
    with pytest.raises(RevisionNotFoundError, match="Invalid rev id: no/such"):
        api.model_info("me/x", revision="no/such")
    with pytest.raises(RevisionNotFoundError):
        api.create_commit("me/x", add(b"1"), commit_message="one", revision="no")
    with pytest.raises(EntryNotFoundError):
        api.hf_hub_download("me/x", "no.txt")
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree("me/x", "no"))
    with pytest.raises(RepositoryNotFoundError):
        api.dataset_info("me/x")
    assert get_session().get(f"{hub.url}/api/models/me/x/no-such-thing").status_code == 404
    assert hub.requests[-1] == ("GET", "unknown", "/api/models/me/x/no-such-thing", None)


# branches, tags, pull requests


def test_branches_and_tags(hub):
    api, repo = HfApi(), hub.add_repo("me/x", FILES)
    first = repo.commits[0].id
    api.create_branch("me/x", branch="old", revision=first)
    api.create_tag("me/x", tag="v1/rc", revision=first[:8])
    assert (repo.branches["old"], repo.tags["v1/rc"]) == (first, first)
    refs = api.list_repo_refs("me/x")
    assert {ref.name: ref.ref for ref in refs.branches} == {"main": "refs/heads/main", "old": "refs/heads/old"}
    assert [(ref.name, ref.target_commit) for ref in refs.tags] == [("v1/rc", first)]
    assert api.model_info("me/x", revision="v1/rc").sha == first
    refused(lambda: api.create_branch("me/x", branch="old"), 409)
    refused(lambda: api.create_tag("me/x", tag="v1/rc"), 409)
    api.create_branch("me/x", branch="old", exist_ok=True)
    api.create_tag("me/x", tag="v1/rc", exist_ok=True)
    assert repo.tags["v1/rc"] == first  # exist_ok does not move a tag
    with pytest.raises(BadRequestError):
        api.create_branch("me/x", branch="refs/pr/1")
    with pytest.raises(RevisionNotFoundError):
        api.create_tag("me/x", tag="v2", revision="no")
    with pytest.raises(RevisionNotFoundError):
        api.create_commit("me/x", add(b"1"), commit_message="one", revision="v1/rc")  # no place to commit to


def test_pull_requests(hub, folder):
    repo = hub.add_repo("me/x")
    hub.add_account("you", YOU)
    api = HfApi(token=YOU)
    info = api.upload_folder(repo_id="me/x", folder_path=folder, create_pr=True, commit_message="take this")
    assert (info.pr_num, info.pr_revision, info.pr_url) == (1, "refs/pr/1", f"{hub.url}/me/x/discussions/1")
    assert (repo.pulls[1].author, repo.pulls[1].head, len(repo.commits)) == ("you", info.oid, 1)
    assert [commit.message for commit in repo.history("refs/pr/1")] == ["initial commit", "take this"]
    hub.add_account("you", YOU, role="read")
    refused(lambda: api.create_commit("me/x", add(b"2"), commit_message="two", create_pr=True), 403)


def test_parent_commit(hub):
    api, repo = HfApi(), hub.add_repo("me/x", FILES)
    head = repo.head.id
    hub.before("commit", lambda: repo.commit("somebody else", {"b.txt": b"2", "config.json": None}))
    error = refused(lambda: api.create_commit("me/x", add(b"1"), commit_message="one", parent_commit=head), 412)
    assert "A commit has happened since" in str(error)
    assert repo.head.message == "somebody else" and "config.json" not in repo.files
    api.create_commit("me/x", add(b"1"), commit_message="one", parent_commit=repo.head.id)
    assert repo.files["a.txt"] == b"1"


# faults

TRIES = [1, 2, 4, 8, 8]  # how long the client sleeps before it gives up after six tries
PLAIN, AGAIN, WRAPPED = "plain", "tried again", "tried again, wrapped in a RuntimeError"


@pytest.mark.parametrize(
    ("route", "how"),
    [
        ("whoami", PLAIN), ("create", PLAIN), ("info", PLAIN), ("refs", PLAIN), ("yaml", PLAIN), ("commit", PLAIN),
        ("branch", PLAIN), ("tag", PLAIN), ("tree", AGAIN), ("preupload", AGAIN), ("batch", AGAIN), ("put", WRAPPED),
        ("verify", WRAPPED),
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", [503, 429, 403, None])
def test_faults_and_who_tries_again(hub, hub_naps, folder, route, how, status):
    """What publishing has to be ready for, written down: None is a connection that breaks."""
    api = HfApi()
    hub.add_repo("me/x")
    if status is None:
        hub.drop(route, times=None)
    else:
        hub.fail(route, status, times=None, message="so it is")
    kind = RuntimeError if how == WRAPPED else httpx2.RemoteProtocolError if status is None else HfHubHTTPError
    call = {
        "whoami": api.whoami,
        "create": lambda: api.create_repo("me/new"),
        "info": lambda: api.model_info("me/x"),
        "refs": lambda: api.list_repo_refs("me/x"),
        "branch": lambda: api.create_branch("me/x", branch="b"),
        "tag": lambda: api.create_tag("me/x", tag="t"),
        "tree": lambda: list(api.list_repo_tree("me/x")),
    }.get(route, lambda: api.upload_folder(repo_id="me/x", folder_path=folder, ignore_patterns="plots/*"))
    with pytest.raises(kind) as caught:
        call()
    error = caught.value.__cause__ if how == WRAPPED else caught.value
    again = how != PLAIN and status != 403
    assert hub_naps == (TRIES if again else [])
    assert hub.count(route) == (6 if again else 1)
    if status is None:
        assert isinstance(error, httpx2.RemoteProtocolError) and not isinstance(error, OSError)
    else:
        assert error.response.status_code == status
        assert "so it is" in str(error) or (route, status) == ("whoami", 429)  # the client has words of its own for that
    assert hub.repo("me/x").files.keys() == {".gitattributes"}


def test_faults_are_counted(hub, hub_naps):
    api = HfApi()
    hub.add_repo("me/x")
    hub.fail("info", 500, times=2)
    for _ in range(2):
        refused(lambda: api.model_info("me/x"), 500)
    assert api.model_info("me/x")
    hub.fail("info", 500, times=None)
    refused(lambda: api.model_info("me/x"), 500)
    hub.heal()
    assert api.model_info("me/x")
    with pytest.raises(ValueError, match="no route is called 'comit'"):
        hub.fail("comit")


def test_mistakes_of_the_server_come_to_light():
    with pytest.raises(RuntimeError, match="ZeroDivisionError"), HubServer() as server:
        server.before("whoami", lambda: 1 / 0)
        assert httpx2.get(f"{server.url}/api/whoami-v2", trust_env=False).status_code == 500


# large objects


def test_the_storage_checks_what_it_gets(hub):
    hub.add_repo("me/x")
    content, other = b"\0" * 1000, b"\1" * 1000
    oid = sha256(content).hexdigest()
    batch = {"operation": "upload", "objects": [{"oid": oid, "size": 1000}]}
    with httpx2.Client(trust_env=False) as client:
        me = {"Authorization": f"Bearer {ME}"}
        url = f"{hub.url}/me/x.git/info/lfs/objects/batch"
        upload = client.post(url, json=batch, headers=me).json()["objects"][0]["actions"]["upload"]["href"]
        assert client.put(upload, content=content, headers=me).status_code == 400  # a token leaks to the storage
        assert client.put(upload, content=other).status_code == 400
        assert client.put(upload.replace("localhost", "127.0.0.1"), content=content).status_code == 403
        assert client.put(upload[:-4] + "0000", content=content).status_code == 403
        line = f'{{"key": "lfsFile", "value": {{"path": "a.bin", "algo": "sha256", "oid": "{oid}", "size": 1000}}}}'
        body = '{"key": "header", "value": {"summary": "one", "description": ""}}\n' + line
        commit = f"{hub.url}/api/models/me/x/commit/main"
        assert client.post(commit, content=body, headers=me).status_code == 400  # never uploaded
        assert client.put(upload, content=content).status_code == 200
        assert "actions" not in client.post(url, json=batch, headers=me).json()["objects"][0]
        assert client.post(commit, content=body, headers=me).status_code == 200
    assert hub.repo("me/x").files["a.bin"] == content


def test_cards_are_checked(hub):
    hub.add_repo("me/x")
    with pytest.raises(ValueError, match="Invalid metadata in README"):
        HfApi().create_commit("me/x", add(b"---\n- a list\n---\n", "README.md"), commit_message="one")
    with pytest.raises(ValueError, match="YAML Metadata Error"):
        HfApi().create_commit("me/x", add(b"---\na: [\n---\n", "README.md"), commit_message="one")
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        HfApi().create_commit("me/x", add(b"# no metadata", "README.md"), commit_message="one")
