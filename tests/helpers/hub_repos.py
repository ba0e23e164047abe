"""What the Hub of the tests keeps in memory: accounts and their tokens, repositories and their commits."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

LFS_SUFFIXES = (".safetensors", ".png", ".bin", ".parquet")
LFS_SIZE = 10 * 2**20
GITATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES).encode()


class HubError(Exception):
    """An answer that is no success: the status, the message and ``X-Error-Code`` as the real Hub gives them."""

    def __init__(self, status: int, message: str, code: str | None = None, **headers: str):
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers | ({"X-Error-Code": code} if code else {})


def is_lfs(path: str, size: int) -> bool:
    """Whether the Hub asks for this file as a large object."""
    return path.endswith(LFS_SUFFIXES) or size > LFS_SIZE


def git_sha1(content: bytes) -> str:
    """The id git gives to a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Account:
    """A user, and the role in each organisation (``admin``, ``write``, ``contributor`` or ``read``)."""

    name: str
    orgs: dict[str, str] = field(default_factory=dict)


@dataclass
class Token:
    """An access token; a user may have several."""

    value: str
    account: Account
    role: str  # read, write or fineGrained
    scoped: list[dict[str, Any]] = field(default_factory=list)
    revoked: bool = False

    def may_read(self, repo_id: str) -> bool:
        """Whether a private repository is open to this token."""
        member = self._namespace_role(repo_id) is not None
        return member and (
            self.role != "fineGrained" or bool(self._permissions(repo_id) & {"repo.content.read", "repo.write"})
        )

    def may_write(self, repo_id: str) -> bool:
        """Whether this token may write to a repository; for ``name/`` alone, whether it may make one in a namespace."""
        if self._namespace_role(repo_id) not in {"admin", "write", "contributor"}:
            return False
        return self.role == "write" or (self.role == "fineGrained" and "repo.write" in self._permissions(repo_id))

    def _namespace_role(self, repo_id: str) -> str | None:
        namespace = repo_id.removeprefix("spaces/").partition("/")[0]
        return "admin" if namespace == self.account.name else self.account.orgs.get(namespace)

    def _permissions(self, repo_id: str) -> set[str]:
        """What the scopes that hold this repository, or its whole namespace, allow."""
        found: set[str] = set()
        for scope in self.scoped:
            kind, name = scope["entity"]["type"], scope["entity"]["name"]
            if (kind == "model" and name == repo_id) or (kind in {"user", "org"} and name == repo_id.partition("/")[0]):
                found.update(scope["permissions"])
        return found


@dataclass(frozen=True)
class Commit:
    """One commit with all files of the repository as they are after it."""

    id: str
    message: str
    parent: str | None
    files: dict[str, bytes]
    lfs: frozenset[str]

    def oid(self, path: str) -> str | None:
        """What preupload calls the ``oid`` of the present file: sha256 of a large one, git's sha1 of others."""
        if path not in self.files:
            return None
        return hashlib.sha256(self.files[path]).hexdigest() if path in self.lfs else git_sha1(self.files[path])

    def entry(self, path: str) -> dict[str, Any]:
        """A file as ``tree`` and ``paths-info`` list it."""
        content = self.files[path]
        entry = {"type": "file", "oid": git_sha1(content), "size": len(content), "path": path}
        if path in self.lfs:
            oid = hashlib.sha256(content).hexdigest()
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n".encode()
            entry |= {"oid": git_sha1(pointer), "lfs": {"oid": oid, "size": len(content), "pointerSize": len(pointer)}}
        return entry

    def folders(self) -> set[str]:
        """Every folder that holds a file, at any depth."""
        parts = [path.split("/")[:-1] for path in self.files]
        return {"/".join(names[:depth]) for names in parts for depth in range(1, len(names) + 1)}


@dataclass
class PullRequest:
    """A pull request; its head is ``refs/pr/<number>``."""

    number: int
    title: str
    author: str
    head: str


class Repo:
    """A model repository. Tests may read every attribute, and write with :meth:`commit`, :meth:`branch` and :meth:`tag`."""

    def __init__(self, repo_id: str, private: bool, lock: threading.RLock | None = None):
        self.id = repo_id
        self.private = private
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.pulls: dict[int, PullRequest] = {}
        self.objects: dict[str, bytes] = {}  # large objects by sha256: uploaded, in a commit or not
        self._commits: dict[str, Commit] = {}
        self._lock = lock or threading.RLock()
        self.commit("initial commit", {".gitattributes": GITATTRIBUTES})

    @property
    def head(self) -> Commit:
        """The last commit of main."""
        return self._commits[self.branches["main"]]

    @property
    def files(self) -> dict[str, bytes]:
        """The files of main."""
        return self.head.files

    @property
    def commits(self) -> list[Commit]:
        """The commits of main, oldest first; the first is the Hub's own, with ``.gitattributes``."""
        return self.history("main")

    def history(self, revision: str) -> list[Commit]:
        """The commits that led to a revision, oldest first."""
        commit: Commit | None = self.resolve(revision)
        found: list[Commit] = []
        while commit is not None:
            found.append(commit)
            commit = self._commits.get(commit.parent or "")
        return found[::-1]

    def resolve(self, revision: str) -> Commit:
        """The commit a branch, a tag, ``refs/pr/N`` or (the first 7 characters of) a commit id stands for."""
        pulls = {f"refs/pr/{number}": pull.head for number, pull in self.pulls.items()}
        named = self.branches.get(revision) or self.tags.get(revision) or pulls.get(revision)
        ids = [named] if named else [name for name in self._commits if len(revision) >= 7 and name.startswith(revision)]
        if not ids:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self._commits[ids[0]]

    def commit(
        self,
        message: str,
        changes: Mapping[str, bytes | None],
        *,
        branch: str = "main",
        lfs: Collection[str] | None = None,
        parent: str | None = None,
    ) -> Commit:
        """Put ``{path: content}`` (None deletes) on top of a branch or ``refs/pr/N``, and move its head there.

        ``lfs`` names the large files among the changes, by default those the Hub would want as such. Where ``parent`` is
        given it has to be the head.
        """
        with self._lock:
            old = self._place(branch) if self._commits else None
            if parent and old and not old.id.startswith(parent):
                raise HubError(412, "A commit has happened since. Please refresh and try again.")
            large = {path for path, content in changes.items() if content and is_lfs(path, len(content))}
            large = large if lfs is None else set(lfs)
            merged = {**(old.files if old else {}), **changes}
            files = {path: content for path, content in merged.items() if content is not None}
            kept = {path for path in old.lfs if path not in changes} if old else set()
            self.objects |= {hashlib.sha256(files[path]).hexdigest(): files[path] for path in large}
            seed = (
                self.id,
                len(self._commits),
                message,
                sorted((path, git_sha1(content)) for path, content in files.items()),
            )
            name = hashlib.sha1(repr(seed).encode()).hexdigest()
            commit = Commit(name, message, old.id if old else None, files, frozenset(kept | large))
            self._commits[commit.id] = commit
            if branch.startswith("refs/pr/"):
                self.pulls[int(branch.removeprefix("refs/pr/"))].head = commit.id
            else:
                self.branches[branch] = commit.id
            return commit

    def branch(self, name: str, revision: str = "main") -> None:
        """Make a branch."""
        with self._lock:
            if name.startswith("refs/"):
                raise HubError(400, f"Invalid reference for a branch: {name}")
            if name in self.branches:
                raise HubError(409, f"Reference already exists: refs/heads/{name}")
            self.branches[name] = self.resolve(revision).id

    def tag(self, name: str, revision: str = "main") -> None:
        """Make a tag."""
        with self._lock:
            if name in self.tags:
                raise HubError(409, f"Tag reference exists already: {name}")
            self.tags[name] = self.resolve(revision).id

    def open_pull(self, title: str, author: str, revision: str = "main") -> PullRequest:
        """Open a pull request without commits of its own."""
        with self._lock:
            number = len(self.pulls) + 1
            self.pulls[number] = PullRequest(number, title, author, self.resolve(revision).id)
            return self.pulls[number]

    def stored(self, oids: Iterable[str]) -> set[str]:
        """Which of these large objects are here already."""
        return set(oids) & set(self.objects)

    def _place(self, branch: str) -> Commit:
        """The head of something that can be committed to: a branch or a pull request, no tag and no commit id."""
        if branch not in self.branches and not branch.startswith("refs/pr/"):
            raise HubError(404, f"Invalid rev id: {branch}", "RevisionNotFound")
        return self.resolve(branch)
