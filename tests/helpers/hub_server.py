"""A small Hugging Face Hub for tests: real HTTP on a free port of 127.0.0.1, everything in memory, faults on demand.

    with HubServer() as server:
        server.add_account("me", token)
        server.fail("commit", status=503)       # the next commit is refused ...
        server.drop("put", times=2)             # ... and two uploads break off in the middle
        HfApi(endpoint=server.url, token=token).upload_folder(...)
        assert server.repo("me/x").files["README.md"] == ...
        assert server.count("put") == 3

Faults are named by route, and :data:`~tests.helpers.hub_routes.ROUTES` is the table of the names:

    whoami create settings auth yaml info refs tree              accounts, repositories, reading
    preupload batch put verify commit branch tag xet             writing
    resolve object                                               downloading; ``object`` is the second host

Every fault counts for ``times`` requests (None: for all that follow).
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from tests.helpers.hub_api import HubApi
from tests.helpers.hub_repos import Account, Repo, Token
from tests.helpers.hub_routes import ROUTE_NAMES, Request, Response, parse

ME = "hf_" + "m" * 34  # put together here, so that no scanner takes it for a token that leaked


class Logged(NamedTuple):
    """One request that arrived, refused or not; ``path`` is as sent, still encoded, without the query."""

    method: str
    route: str
    path: str
    user: str | None


@dataclass
class Fault:
    """Something that goes wrong on a route."""

    kind: str  # fail, drop, lose, delay or before
    route: str
    times: int | None
    value: Any = None


class HubServer(HubApi):
    """The Hub. Start it with ``with``; nothing outside this machine can reach it."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Logged] = []
        self.errors: list[str] = []  # tracebacks of this server's own mistakes, raised when it stops
        self._faults: list[Fault] = []
        self._revocations: list[tuple[Token, Fault]] = []
        self._http: ThreadingHTTPServer | None = None

    def __enter__(self) -> HubServer:
        self._http = _Listener(("127.0.0.1", 0), self)
        port = self._http.server_address[1]
        self.url, self.store_url = f"http://127.0.0.1:{port}", f"http://localhost:{port}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        if self.errors and kind is None:
            raise RuntimeError("the Hub of the tests went wrong:\n" + "\n".join(self.errors))

    # what there is

    def add_account(
        self,
        name: str,
        token: str,
        role: str = "write",
        orgs: Mapping[str, str] | None = None,
        scoped: list[dict[str, Any]] | None = None,
    ) -> None:
        """Add a token and, with the first one, its user.

        ``role`` is ``read``, ``write`` or ``fineGrained``; ``orgs`` gives the role in each organisation; ``scoped`` is the
        list a fine-grained token carries: ``[{"entity": {"type": "user", "name": "me"}, "permissions": ["repo.write"]}]``.
        """
        with self.lock:
            known = [other.account for other in self.tokens.values() if other.account.name == name]
            account = known[0] if known else Account(name)
            account.orgs |= orgs or {}
            self.tokens[token] = Token(token, account, role, scoped or [])

    def add_repo(self, repo_id: str, files: Mapping[str, bytes] | None = None, private: bool = False) -> Repo:
        """Add a repository; with ``files`` it has a second commit."""
        with self.lock:
            repo = self.repos[repo_id] = Repo(repo_id, private, self.lock)
            if files:
                repo.commit("add files", files)
            return repo

    def repo(self, repo_id: str) -> Repo:
        """A repository to look into."""
        return self.repos[repo_id]

    def count(self, route: str, method: str | None = None) -> int:
        """How many requests of a route have arrived."""
        _check(route)
        with self.lock:
            return sum(seen.route == route and method in (None, seen.method) for seen in self.requests)

    # what goes wrong

    def fail(
        self,
        route: str,
        status: int = 503,
        times: int | None = 1,
        *,
        message: str | None = None,
        retry_after: int | None = None,
        html: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Refuse requests with this status; they have no effect.

        The message (by default the status's own) is sent as X-Error-Message and in the JSON body. With ``html`` the
        answer is a page without either, as from a proxy that stands before the Hub.
        """
        message = message or HTTPStatus(status).phrase
        sent = dict(headers or {}) | ({} if retry_after is None else {"Retry-After": str(retry_after)})
        if html:
            page = f"<html><body><h1>{status} {message}</h1></body></html>".encode()
            answer = Response(page, status, sent | {"Content-Type": "text/html"})
        else:
            answer = Response({"error": message}, status, {"X-Error-Message": message} | sent)
        self._add(Fault("fail", route, times, answer))

    def drop(self, route: str, times: int | None = 1, *, after: bool = False) -> None:
        """Close the connection half way through the request's body, or ``after`` the work is done: the answer is lost."""
        self._add(Fault("lose" if after else "drop", route, times))

    def delay(self, route: str, seconds: float, times: int | None = None) -> None:
        """Let requests wait."""
        self._add(Fault("delay", route, times, seconds))

    def before(self, route: str, callback: Callable[[], object], times: int | None = 1) -> None:
        """Call something when a request has arrived and before it is handled: another process commits in between."""
        self._add(Fault("before", route, times, callback))

    def revoke(self, token: str, route: str | None = None, after: int = 0) -> None:
        """Make a token invalid: now, or when ``after`` more requests of a route (None: of any) have been answered."""
        if route:
            _check(route)
        with self.lock:
            if after:
                self._revocations.append((self.tokens[token], Fault("revoke", route or "", after)))
            else:
                self.tokens[token].revoked = True

    def quota(self, limit: int | None) -> None:
        """Refuse a batch after which all large objects together would be more bytes than this; None lifts the limit."""
        self.quota_bytes = limit

    def xet(self, status: int) -> None:
        """The status with which tokens for Xet storage are refused (404 unless said otherwise)."""
        self.xet_status = status

    def heal(self) -> None:
        """Forget all faults that are still to come, and the quota."""
        with self.lock:
            self._faults.clear()
            self._revocations.clear()
            self.quota_bytes = None

    def _add(self, fault: Fault) -> None:
        _check(fault.route)
        with self.lock:
            self._faults.append(fault)

    # how a request is served

    def log(self, request: Request) -> dict[str, Any]:
        """Write a request down; returns what is to go wrong with it, by kind."""
        with self.lock:
            self.requests.append(Logged(request.method, request.route, request.path, request.user))
            due: dict[str, Any] = {}
            for fault in self._faults:
                if fault.route == request.route and fault.times != 0 and fault.kind not in due:
                    fault.times = fault.times and fault.times - 1
                    due[fault.kind] = fault.value
            return due

    def serve(self, request: Request, due: Mapping[str, Any]) -> Response:
        """Answer a request whose body has been read."""
        try:
            time.sleep(due.get("delay", 0))
            due.get("before", lambda: None)()  # outside the lock: it may send requests of its own
            answer = due.get("fail") or self.answer(request)
        except Exception:
            self.errors.append(traceback.format_exc())
            answer = Response({"error": "a mistake of the server of the tests"}, 500)
        with self.lock:
            for token, countdown in self._revocations:
                if countdown.route in ("", request.route):
                    countdown.times -= 1
                    token.revoked = token.revoked or countdown.times <= 0
        return answer

    def token_of(self, authorization: str | None) -> Token | None:
        """The token of an Authorization header; an unknown one is like a revoked one."""
        if authorization is None:
            return None
        value = authorization.removeprefix("Bearer ")
        return self.tokens.get(value) or Token(value, Account(""), "read", revoked=True)


def hub_env(server: HubServer, token: str | None = ME, home: Path | str | None = None) -> dict[str, str]:
    """The environment of a child process that is to talk to this Hub; without ``home`` it shares HF_HOME with the test."""
    gone = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HF_ASSETS_CACHE", "HF_XET_CACHE"}
    gone |= {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"}
    gone |= {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"}
    env = {name: value for name, value in os.environ.items() if name not in gone}
    env |= {"HF_ENDPOINT": server.url, "HF_HOME": str(home or os.environ["HF_HOME"]), "HF_HUB_DISABLE_XET": "1"}
    env |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
    return env | ({"HF_TOKEN": token} if token else {})


def _check(route: str) -> None:
    if route not in ROUTE_NAMES and route != "unknown":
        raise ValueError(f"no route is called {route!r}; there are {', '.join(sorted(ROUTE_NAMES))}")


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], hub: HubServer):
        super().__init__(address, _handler(hub))
        self.hub = hub

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no mistake of ours; anything else is."""
        if not isinstance(sys.exc_info()[1], OSError):
            self.hub.errors.append(traceback.format_exc())


def _handler(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    """The request handler class of one Hub."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # header and body are two small writes; 40 ms an answer otherwise

        def handle_request(self) -> None:
            request = parse(self.command, self.path)
            request.headers = {name.lower(): value for name, value in self.headers.items()}
            request.token = hub.token_of(request.headers.get("authorization"))
            due = hub.log(request)
            if "drop" in due:
                self.read_body(share=2)
                self.hang_up()
                return
            request.body = self.read_body()
            answer = hub.serve(request, due)
            if "lose" in due:
                self.hang_up()
                return
            self.reply(answer)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_request

        def read_body(self, share: int = 1) -> bytes:
            """The body, or the first half of it."""
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0) // share)
            body = b""
            while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
                body += self.rfile.read(size // share)
                if share > 1:
                    return body
                self.rfile.readline()
            self.rfile.readline()
            return body

        def hang_up(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        def reply(self, answer: Response) -> None:
            body, kind = answer.body, "text/plain"
            if not isinstance(body, bytes):
                body, kind = json.dumps(body).encode(), "application/json; charset=utf-8"
            self.send_response(answer.status)
            for name, value in ({"Content-Type": kind} | answer.headers).items():
                self.send_header(name, value.encode("latin-1", "replace").decode("latin-1").replace("\n", " "))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
