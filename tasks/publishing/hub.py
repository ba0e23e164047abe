"""Requests to the Hub: preflight checks, one commit, a comparison of what arrived."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token, set_client_factory
from huggingface_hub.errors import (
    HFValidationError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id
from huggingface_hub.utils._http import default_client_factory

from tasks.errors import UserError
from tasks.model.model_files import ADAPTER_CONFIG
from tasks.network import status_of
from tasks.publishing.refusals import PAUSES, Conflict, retried
from tasks.publishing.report import json_object
from tasks.publishing.staging import ALLOWED, CARD_FILE
from tasks.run_folder import TASK_FILE

T = TypeVar("T")

#: Files of an earlier release that would be loaded beside the new ones, such as a third shard, are removed.
REPLACED = tuple(name for name in ALLOWED if name not in (CARD_FILE, "chat_template.jinja"))


@dataclass(frozen=True)
class Destination:
    """Where a release goes. ``revision`` is a branch, created if missing; None is main. ``kind``: ``model`` or ``space``."""

    repo_id: str
    public: bool = False
    revision: str | None = None
    tag: str | None = None
    create_pr: bool = False
    message: str | None = None
    kind: str = "model"


@dataclass(frozen=True)
class Remote:
    """What is on the Hub before a release. ``head`` is None if there is no such repository or branch yet.

    A new branch starts with the files and the card of main, so those are listed for it.
    """

    exists: bool = False
    private: bool = True
    head: str | None = None
    files: tuple[str, ...] = ()
    card: str | None = None
    task: str | None = None
    pull: int | None = None  # the number of the pull request that is open already


#: Seconds without a byte. The longest silence is that of a server storing a large file.
TIMEOUT = 300.0


def _client() -> Any:
    client = default_client_factory()
    client.timeout = TIMEOUT
    return client


def check_repo_id(repo_id: str) -> None:
    """Raises UserError if ``repo_id`` is not a valid repository id."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UserError(f"--repo_id {repo_id}: {str(error).split(':')[0].rstrip('.')}; write it as NAME/MODEL") from None


class Hub:
    """The Hub as one user sees it. The token comes from the environment or `hf auth login`, never from a command line."""

    def __init__(self, pauses: Sequence[float] = PAUSES) -> None:
        """``pauses`` as in ``retried``. Raises UserError if nobody is logged in."""
        self.pauses = pauses
        self.token = get_token()
        if not self.token:
            raise UserError("nobody is logged in to the Hub; run `hf auth login`, or set HF_TOKEN in the environment")
        # huggingface_hub has no timeout by default and would wait for a silent server forever.
        set_client_factory(_client)
        self.api = HfApi()

    def _ask(self, what: str, request: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """``request(*args, **kwargs)``, tried again as ``retried`` does; ``what`` is being done."""
        return retried(what, lambda: request(*args, **kwargs), self.pauses)

    def preflight(self, destination: Destination, task: str) -> tuple[Destination, Remote]:
        """Check all that the Hub could refuse later, and change nothing. The repository id gets its namespace.

        Raises:
            UserError: the token may not write there, or the name or the tag is taken.
        """
        check_repo_id(destination.repo_id)
        if destination.create_pr and (destination.revision or destination.tag):
            raise UserError("--create_pr opens a pull request on main: leave --revision and --tag out")
        who = self._ask("logging in to the Hub", self.api.whoami, cache=False)
        if "/" not in destination.repo_id:
            destination = replace(destination, repo_id=f"{who['name']}/{destination.repo_id}")
        _check_token(who, destination)
        remote = self.read(destination)
        if destination.create_pr and remote.exists and (pull := self._pull(destination, who["name"], task)):
            remote = replace(self.read(replace(destination, revision=f"refs/pr/{pull}")), pull=pull)
        if remote.exists:
            self._check_existing(destination, remote, task)
        return destination, remote

    def _check_existing(self, destination: Destination, remote: Remote, task: str) -> None:
        repo_id = destination.repo_id
        if remote.head and {"config.json", ADAPTER_CONFIG} & set(remote.files) and remote.task != task:
            what = f"a model for {remote.task}" if remote.task else "a model that these scripts did not make"
            raise UserError(f"{repo_id} holds {what}; choose another --repo_id, or a branch of its own with --revision")
        if not remote.private and not destination.public and not destination.create_pr:
            raise UserError(
                f"{repo_id} is public, and a release is private unless --hub_public is given; give it, or another name"
            )
        self.check_tag(destination, remote.head)
        if not destination.create_pr:  # whoever may read a model may open a pull request on it
            check = self.api.auth_check
            self._ask(f"asking to write to {repo_id}", check, repo_id, repo_type=destination.kind, write=True)

    def _pull(self, destination: Destination, author: str, task: str) -> int | None:
        """The newest open pull request of ``author`` with a release of ``task``, by its title."""
        kind: dict[str, Any] = {"author": author, "discussion_type": "pull_request", "discussion_status": "open"}

        def ask() -> list[int]:
            found = self.api.get_repo_discussions(destination.repo_id, **kind)
            return [each.num for each in found if each.title == destination.message or each.title.startswith(f"{task}, ")]

        return max(self._ask(f"reading the pull requests of {destination.repo_id}", ask), default=None)

    def check_tag(self, destination: Destination, commit: str | None) -> None:
        """Raises UserError if the tag exists and points to another commit."""
        taken = self._tag(destination) if destination.tag else None
        if taken and taken != commit:
            raise UserError(
                f"--tag {destination.tag}: {destination.repo_id} has this tag already, on another commit; choose a new one"
            )

    def _tag(self, destination: Destination) -> str | None:
        """The commit of the tag, None if there is no such tag."""
        repo_id, refs_of = destination.repo_id, self.api.list_repo_refs
        refs = self._ask(f"reading {repo_id}", refs_of, repo_id, repo_type=destination.kind)
        return next((ref.target_commit for ref in refs.tags if ref.name == destination.tag), None)

    def read(self, destination: Destination) -> Remote:
        """The present state of the repository or branch."""
        repo_id, kind = destination.repo_id, destination.kind

        def look() -> Remote:
            try:
                main = self.api.repo_info(repo_id, repo_type=kind)
            except RepositoryNotFoundError as error:
                if status_of(error) != 404:  # said of a token that is no longer good and of a gated model, too
                    raise
                return Remote()
            info, head = main, main.sha
            if destination.revision:
                try:
                    info = self.api.repo_info(repo_id, repo_type=kind, revision=destination.revision)
                    head = info.sha
                except RevisionNotFoundError:
                    head = None
            files = tuple(sibling.rfilename for sibling in info.siblings or ())
            texts = {name: self._text(destination, name, info.sha) for name in (CARD_FILE, TASK_FILE) if name in files}
            return Remote(
                exists=True,
                private=bool(main.private),
                head=head,
                files=files,
                card=texts.get(CARD_FILE),
                task=_task_in(texts.get(TASK_FILE)),
            )

        return self._ask(f"reading {repo_id}", look)

    def _text(self, where: Destination, name: str, revision: str | None) -> str | None:
        try:
            path = self.api.hf_hub_download(where.repo_id, name, repo_type=where.kind, revision=revision)
            return Path(path).read_text("utf-8", errors="replace")
        except RemoteEntryNotFoundError:  # and not its base, which also stands for a Hub that does not answer
            return None

    def prepare(self, destination: Destination, remote: Remote) -> Remote:
        """Create repository and branch if missing. Returns their state.

        Raises:
            Conflict: somebody else made the repository since ``remote`` was read, and differently.
        """
        repo_id, branch = destination.repo_id, destination.revision
        if not remote.exists:
            how: dict[str, Any] = {"repo_type": destination.kind, "private": not destination.public, "exist_ok": True}
            how["space_sdk"] = "gradio" if destination.kind == "space" else None
            self._ask(f"making {repo_id}", self.api.create_repo, repo_id, **how)
        if branch and not remote.head:
            self._ask(f"making the branch {branch}", self.api.create_branch, repo_id, branch=branch, exist_ok=True)
        made = remote if remote.head else self.read(destination)
        new = {".gitattributes", CARD_FILE} if destination.kind == "space" else {".gitattributes"}  # what the Hub puts there
        if not remote.exists and (set(made.files) - new or made.private == destination.public):
            raise Conflict(f"{repo_id} was made by somebody else")
        return made

    def differs(self, destination: Destination, revision: str | None, staged: Path) -> list[str]:
        """Files of ``staged`` that are missing or different on the Hub, by its hashes."""
        repo_id, compare = destination.repo_id, self.api.verify_repo_checksums
        where: dict[str, Any] = {"repo_type": destination.kind, "revision": revision, "local_dir": staged}
        found = self._ask(f"comparing {repo_id}", compare, repo_id, **where)
        return sorted([*(mismatch["path"] for mismatch in found.mismatches), *found.extra_paths])

    def commit(
        self, destination: Destination, remote: Remote, staged: Path, names: Sequence[str], stale: Sequence[str]
    ) -> Any:
        """One commit with the files ``names`` and without ``stale``, on top of what was read. Returns its CommitInfo.

        Large files that the Hub has are not sent again, those of an upload that was interrupted before its commit included.

        Raises:
            Conflict: somebody else committed since ``remote`` was read.
        """
        message = destination.message or "Release"

        def send() -> Any:
            # New objects at each attempt: huggingface_hub changes them.
            operations = [CommitOperationAdd(name, staged / name) for name in names]
            try:
                return self.api.create_commit(
                    destination.repo_id,
                    [*operations, *(CommitOperationDelete(name) for name in stale)],
                    commit_message=message,
                    repo_type=destination.kind,
                    revision=f"refs/pr/{remote.pull}" if remote.pull else destination.revision,
                    create_pr=destination.create_pr and not remote.pull,
                    parent_commit=remote.head,
                )
            except RemoteEntryNotFoundError:  # what is to be removed is gone: by a commit of ours, whose answer was lost
                raise Conflict(f"{destination.repo_id} is not as it was read") from None

        return self._ask(f"sending to {destination.repo_id}", send)

    def finish(self, destination: Destination, remote: Remote, revision: str | None) -> None:
        """Set the tag, and make a private repository public if that was asked for."""
        repo_id, tag = destination.repo_id, destination.tag
        if tag and self._tag(destination) != revision:
            self._ask(f"setting the tag {tag}", self.api.create_tag, repo_id, tag=tag, revision=revision, exist_ok=True)
            self.check_tag(destination, revision)  # exist_ok leaves a tag that somebody else has set where it is
        if destination.public and remote.exists and remote.private:
            settings: dict[str, Any] = {"repo_type": destination.kind, "private": False}
            self._ask(f"making {repo_id} public", self.api.update_repo_settings, repo_id, **settings)


def stale_files(on_hub: Sequence[str], names: Sequence[str]) -> list[str]:
    """Files of an earlier release that the new one lacks and that would be loaded with it."""
    return [name for name in on_hub if name not in names and any(fnmatch(name, kind) for kind in REPLACED)]


def _task_in(text: str | None) -> str | None:
    """What a task.json is of, several tasks as RunConfigs.task has them; None for anything else."""
    found = json_object(f'{{"runs": {text}}}').get("runs")
    runs = found if isinstance(found, list) else [found]
    return "-".join(run["task"] for run in runs if isinstance(run, dict) and isinstance(run.get("task"), str)) or None


def _check_token(who: dict[str, Any], destination: Destination) -> None:
    """Raises UserError if the token may not write models into the namespace."""
    repo_id, namespace = destination.repo_id, destination.repo_id.split("/")[0]
    token = who.get("auth", {}).get("accessToken", {})
    if token.get("role") == "read":
        raise UserError(
            "the token may only read; make one with write access at https://huggingface.co/settings/tokens, and log in with "
            "`hf auth login`"
        )
    if destination.create_pr:
        return
    writes = [
        scope.get("entity", {}).get("name")
        for scope in token.get("fineGrained", {}).get("scoped", [])
        if "repo.write" in scope.get("permissions", ())
    ]
    if token.get("role") == "fineGrained" and namespace not in writes and repo_id not in writes:
        raise UserError(
            f"the token's fine-grained permissions do not let it write to {repo_id}; add `repo.write` for {namespace} "
            "at https://huggingface.co/settings/tokens"
        )
    roles = {who["name"]: "admin"} | {org.get("name"): org.get("roleInOrg") for org in who.get("orgs", [])}
    if namespace not in roles:
        raise UserError(f"--repo_id {repo_id}: {who['name']} may not write to {namespace}; possible are {', '.join(roles)}")
    if roles[namespace] == "read":
        raise UserError(f"--repo_id {repo_id}: {who['name']} may only read in {namespace}; ask for write access there")
