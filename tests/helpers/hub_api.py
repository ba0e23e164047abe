"""What the Hub of the tests answers, route by route, to the client huggingface_hub 2.4.0.

Status codes, bodies and messages follow the real Hub as far as the client reads them. Two things differ on purpose.
``RepoNotFound`` is also said with a 401, because the client only takes a bare 401 for a missing repository where the
address begins with https. And names are compared letter by letter, in both namespaces and repositories.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from typing import Any

import yaml  # no part of the standard library, but huggingface_hub does not install without it

from tests.helpers.hub_repos import Commit, HubError, Repo, Token, is_lfs
from tests.helpers.hub_routes import Request, Response


class HubApi:
    """The state of the Hub and its answers. ``answer`` is the door; each ``_route`` method below is one route."""

    def __init__(self) -> None:
        self.url = ""  # the Hub itself
        self.store_url = ""  # large objects live under another host name, as the real ones do
        self.lock = threading.RLock()
        self.tokens: dict[str, Token] = {}
        self.repos: dict[str, Repo] = {}
        self.quota_bytes: int | None = None
        self.xet_status = 404
        self._uploads: dict[str, tuple[Repo, str, int]] = {}  # what each signed address may be used for

    def answer(self, request: Request) -> Response:
        """Answer one request; errors become answers too."""
        with self.lock:
            try:
                if request.token and request.token.revoked:
                    raise HubError(401, "Invalid credentials in Authorization header")
                return getattr(self, f"_{request.route}")(request)
            except HubError as error:
                headers = {"X-Error-Message": error.message} | error.headers
                return Response({"error": error.message}, error.status, headers)

    # who may do what

    def _login(self, request: Request) -> Token:
        if request.token is None:
            hidden = re.match("/api/(models|datasets|spaces)/.|/.+/resolve/.", request.path)
            raise HubError(401, "Invalid username or password.", "RepoNotFound" if hidden else None)
        return request.token

    def _read(self, request: Request) -> Repo:
        """The repository of a request. To those who may not see it, it is as if it did not exist."""
        repo = self.repos.get(request.args["repo"])
        if repo and (not repo.private or (request.token and request.token.may_read(repo.id))):
            return repo
        self._login(request)
        raise HubError(404, "Repository not found", "RepoNotFound")

    def _write(self, request: Request, as_pull: bool = False) -> Repo:
        """The repository of a request that writes to it; a pull request is open to everybody with a token that writes."""
        repo = self._read(request)
        token = self._login(request)
        if token.role == "read":
            raise HubError(403, "Forbidden: you must use a write token to upload to a repository.")
        if not as_pull and not token.may_write(repo.id):
            raise HubError(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request.")
        return repo

    # accounts and repositories

    def _unknown(self, request: Request) -> Response:
        raise HubError(404, "Sorry, we can't find the page you are looking for.")

    def _whoami(self, request: Request) -> Response:
        token = self._login(request)
        name = token.account.name
        access: dict[str, Any] = {"displayName": "a test", "role": token.role, "createdAt": "2024-01-01T00:00:00.000Z"}
        if token.role == "fineGrained":
            access["fineGrained"] = {"canReadGatedRepos": False, "global": [], "scoped": token.scoped}
        orgs = [{"type": "org", "name": org, "fullname": org, "roleInOrg": role} for org, role in token.account.orgs.items()]
        return Response(
            {
                "type": "user", "id": hashlib.sha1(name.encode()).hexdigest()[:24], "name": name, "fullname": name,
                "isPro": False, "canPay": False, "orgs": orgs, "auth": {"type": "access_token", "accessToken": access},
            }
        )  # fmt: skip

    def _create(self, request: Request) -> Response:
        token, wanted = self._login(request), request.json()
        namespace = wanted.get("organization") or token.account.name
        kind = wanted.get("type", "model")
        repo_id = f"{'spaces/' if kind == 'space' else ''}{namespace}/{wanted['name']}"
        if not token.may_write(f"{namespace}/"):
            raise HubError(403, f'You don\'t have the rights to create a {kind} under the namespace "{namespace}"')
        if kind == "space" and wanted.get("sdk") not in ("gradio", "docker", "static"):
            raise HubError(400, '"sdk" must be one of [gradio, docker, static]')
        body = {"url": f"{self.url}/{repo_id}", "name": repo_id}
        if repo_id in self.repos:
            return Response(body | {"error": f"You already created this {kind} repo"}, 409)
        repo = self.repos[repo_id] = Repo(repo_id, wanted.get("visibility") == "private", self.lock)
        if kind == "space":  # the Hub writes its card
            repo.commit("Create Space", {"README.md": f"---\nsdk: {wanted['sdk']}\n---\n".encode()})
        return Response(body)

    def _settings(self, request: Request) -> Response:
        repo, wanted = self._write(request), request.json()
        repo.private = wanted.get("visibility", "private" if repo.private else "public") == "private"
        return Response({"private": repo.private})

    def _auth(self, request: Request) -> Response:
        (self._write if "write" in request.args else self._read)(request)
        return Response({})

    def _yaml(self, request: Request) -> Response:
        card, problem = front_matter(request.json()["content"])
        if problem:
            return Response({"errors": [{"message": problem}], "warnings": []}, 400)
        empty = [] if card else [{"message": "empty or missing yaml metadata in repo card"}]
        return Response({"errors": [], "warnings": empty})

    # reading

    def _info(self, request: Request) -> Response:
        repo = self._read(request)
        commit = repo.resolve(request.args.get("revision", "main"))
        siblings = [{"rfilename": path} for path in sorted(commit.files)]
        name = re.sub("^(datasets|spaces)/", "", repo.id)
        return Response({"id": name, "sha": commit.id, "private": repo.private, "tags": [], "siblings": siblings})

    def _refs(self, request: Request) -> Response:
        repo = self._read(request)

        def listed(names: dict[str, str], prefix: str) -> list[dict[str, str]]:
            return [{"name": name, "ref": prefix + name, "targetCommit": target} for name, target in names.items()]

        branches, tags = listed(repo.branches, "refs/heads/"), listed(repo.tags, "refs/tags/")
        return Response({"branches": branches, "tags": tags, "converts": []})

    def _discussions(self, request: Request) -> Response:
        """The open pull requests of an author; the tests close none."""
        repo = self._read(request)
        found = [
            {"title": pull.title, "num": pull.number, "author": {"name": pull.author}, "status": "open",
             "isPullRequest": True, "createdAt": "2026-01-01T00:00:00.000Z", "repo": {"name": repo.id, "type": "model"}}
            for pull in repo.pulls.values() if pull.author in request.query["author"]
        ]  # fmt: skip
        return Response({"count": len(found), "start": 0, "discussions": found})

    def _tree(self, request: Request) -> Response:
        commit, folder = self._read(request).resolve(request.args["revision"]), request.args.get("path", "")
        if folder and folder not in commit.folders():
            raise not_found(commit, folder)
        prefix, deep = folder and folder + "/", request.query.get("recursive") == ["true"]
        below = [path for path in sorted({*commit.files, *commit.folders()}) if path.startswith(prefix)]
        return Response([describe(commit, path) for path in below if deep or "/" not in path[len(prefix) :]])

    def _resolve(self, request: Request) -> Response:
        path = request.args["path"]
        commit = self._read(request).resolve(request.args["revision"])
        oid = commit.oid(path)
        if oid is None:
            raise not_found(commit, path)
        headers = {"X-Repo-Commit": commit.id, "ETag": f'"{oid}"'}
        if path not in commit.lfs:
            return Response(commit.files[path], headers=headers | {"Content-Type": "application/octet-stream"})
        headers |= {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(commit.files[path]))}
        return Response(b"", 302, headers | {"Location": self._sign(self.repos[request.args["repo"]], oid, 0)})

    # writing

    def _preupload(self, request: Request) -> Response:
        place = request.args["revision"]
        repo = self._write(request, as_pull="create_pr" in request.query or place.startswith("refs/pr/"))
        commit = repo.resolve(place)
        files = [
            {"path": file["path"], "uploadMode": "lfs" if is_lfs(file["path"], file["size"]) else "regular",
             "shouldIgnore": False} | ({"oid": commit.oid(file["path"])} if file["path"] in commit.files else {})
            for file in request.json()["files"]
        ]  # fmt: skip
        return Response({"files": files, "commitOid": commit.id})

    def _batch(self, request: Request) -> Response:
        wanted = request.json()
        place = wanted.get("ref", {}).get("name", "refs/pr/new")
        repo = self._write(request, as_pull=place.startswith("refs/pr/"))
        here = repo.stored(item["oid"] for item in wanted["objects"])
        if self.quota_bytes is not None:
            used = sum(len(content) for other in self.repos.values() for content in other.objects.values())
            if used + sum(item["size"] for item in wanted["objects"] if item["oid"] not in here) > self.quota_bytes:
                message = "storage limit reached, please upgrade your plan to increase your storage limit."
                raise HubError(403, f"{'Private' if repo.private else 'Public'} repository {message}")
        objects = [{"oid": item["oid"], "size": item["size"], "authenticated": True} for item in wanted["objects"]]
        for item in objects:
            if item["oid"] not in here:
                verify = f"{self.url}/{repo.id}.git/info/lfs/objects/verify"
                upload = self._sign(repo, item["oid"], item["size"])
                item["actions"] = {"upload": {"href": upload, "header": {}}, "verify": {"href": verify, "header": {}}}
        return Response({"transfer": "basic", "objects": objects}, headers={"Content-Type": "application/vnd.git-lfs+json"})

    def _put(self, request: Request) -> Response:
        repo, oid, size = self._signed(request)
        if len(request.body) != size or hashlib.sha256(request.body).hexdigest() != oid:
            raise HubError(400, "BadDigest: the content is not what its sha256 and size promise")
        repo.objects[oid] = request.body
        return Response(headers={"ETag": f'"{oid}"'})

    def _object(self, request: Request) -> Response:
        repo, oid, _ = self._signed(request)
        return Response(repo.objects[oid], headers={"ETag": f'"{oid}"'})

    def _verify(self, request: Request) -> Response:
        repo, wanted = self._write(request, as_pull=True), request.json()
        if len(repo.objects.get(wanted["oid"], b"")) != wanted["size"]:
            raise HubError(422, "The object was not uploaded")
        return Response({})

    def _commit(self, request: Request) -> Response:
        create = "create_pr" in request.query
        place = request.args["revision"]
        repo = self._write(request, as_pull=create or place.startswith("refs/pr/"))
        items = [json.loads(line) for line in request.body.splitlines()]
        header = items[0]["value"]
        changes, large = self._changes(repo, repo.resolve(place), items[1:])
        pull = None
        if create:
            if header.get("parentCommit") and not repo.resolve(place).id.startswith(header["parentCommit"]):
                raise HubError(412, "A commit has happened since. Please refresh and try again.")
            pull = repo.open_pull(header["summary"], request.user or "", place)
            place = f"refs/pr/{pull.number}"
        commit = repo.commit(header["summary"], changes, branch=place, lfs=large, parent=header.get("parentCommit"))
        body = {"success": True, "commitOid": commit.id, "commitUrl": f"{self.url}/{repo.id}/commit/{commit.id}"}
        return Response(body | ({"pullRequestUrl": f"{self.url}/{repo.id}/discussions/{pull.number}"} if pull else {}))

    def _changes(self, repo: Repo, base: Commit, items: list[dict]) -> tuple[dict[str, bytes | None], set[str]]:
        """Read the lines of a commit after its header: what becomes of each path, and which are large files."""
        changes: dict[str, bytes | None] = {}
        large: set[str] = set()
        for item in items:
            kind, value = item["key"], item["value"]
            path = value["path"]
            if kind == "file":
                changes[path] = base64.b64decode(value["content"])
            elif kind == "lfsFile":
                if not repo.stored([value["oid"]]):
                    raise HubError(
                        400, f"Your push was rejected because an LFS pointer pointed to a file that does not exist: {path}"
                    )
                changes[path] = repo.objects[value["oid"]]
                large.add(path)
            elif kind == "deletedFile" and path in base.files:
                changes[path] = None
            else:
                raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
        return changes, large

    def _branch(self, request: Request) -> Response:
        repo = self._write(request)
        repo.branch(request.args["name"], request.json().get("startingPoint") or "main")
        return Response({})

    def _tag(self, request: Request) -> Response:
        repo = self._write(request)
        repo.tag(request.json()["tag"], request.args["revision"])
        return Response({})

    def _xet(self, request: Request) -> Response:
        self._read(request)
        raise HubError(self.xet_status, "Xet storage is not for this repository")

    def _sign(self, repo: Repo, oid: str, size: int) -> str:
        """An address for one object that needs no token, as the real storage gives out."""
        key = hashlib.sha256(f"{repo.id} {oid} {size}".encode()).hexdigest()[:32]
        self._uploads[key] = (repo, oid, size)
        return f"{self.store_url}/lfs-objects/{key}"

    def _signed(self, request: Request) -> tuple[Repo, str, int]:
        """What a signed address stands for. The storage refuses a token next to the signature, and so does this one."""
        if "authorization" in request.headers:
            raise HubError(400, "InvalidArgument: Only one auth mechanism allowed")
        if not self.store_url.endswith("//" + request.headers.get("host", "")) or request.args["key"] not in self._uploads:
            raise HubError(403, "SignatureDoesNotMatch")
        return self._uploads[request.args["key"]]


def front_matter(text: str) -> tuple[dict[str, Any] | None, str | None]:
    """The metadata of a card, or None where it has none; and what is wrong with it."""
    block = re.match(r"\s*---[ \t]*\r?\n(.*?)^---[ \t]*$", text, re.DOTALL | re.MULTILINE)
    if not block:
        return None, None
    try:
        card = yaml.safe_load(block[1])
    except yaml.YAMLError as error:
        return None, f"YAML Metadata Error: {error}"
    return (card, None) if isinstance(card, dict | None) else (None, '"metadata" must be of type object')


def describe(commit: Commit, path: str) -> dict[str, Any]:
    """A file or a folder as listings show it."""
    if path in commit.files:
        return commit.entry(path)
    return {"type": "directory", "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0, "path": path}


def not_found(commit: Commit, path: str) -> HubError:
    """No such file. The commit goes with it, so that the client can remember what is not there."""
    return HubError(404, f"Entry not found: {path}", "EntryNotFound", **{"X-Repo-Commit": commit.id})
