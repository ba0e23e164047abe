"""Which request means what to the Hub of the tests: the table of its routes, and the shapes of request and answer."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

from tests.helpers.hub_repos import Token

ROUTES = [
    ("whoami", "GET", "/api/whoami-v2"),
    ("create", "POST", "/api/repos/create"),
    ("yaml", "POST", "/api/validate-yaml"),
    ("settings", "PUT", "/api/models/{repo}/settings"),
    ("auth", "GET", "/api/models/{repo}/auth-check"),
    ("auth", "GET", "/api/models/{repo}/auth-check/{write}"),
    ("info", "GET", "/api/models/{repo}/revision/{revision}"),
    ("refs", "GET", "/api/models/{repo}/refs"),
    ("discussions", "GET", "/api/models/{repo}/discussions"),
    ("tree", "GET", "/api/models/{repo}/tree/{revision}"),
    ("tree", "GET", "/api/models/{repo}/tree/{revision}/{path}"),
    ("preupload", "POST", "/api/models/{repo}/preupload/{revision}"),
    ("commit", "POST", "/api/models/{repo}/commit/{revision}"),
    ("branch", "POST", "/api/models/{repo}/branch/{name}"),
    ("tag", "POST", "/api/models/{repo}/tag/{revision}"),
    ("xet", "GET", "/api/models/{repo}/xet-(?:read|write)-token/{revision}"),
    ("info", "GET", "/api/models/{repo}"),
    ("batch", "POST", "/{repo}.git/info/lfs/objects/batch"),
    ("verify", "POST", "/{repo}.git/info/lfs/objects/verify"),
    ("put", "PUT", "/lfs-objects/{key}"),
    ("object", "GET", "/lfs-objects/{key}"),
    ("resolve", "GET|HEAD", "/{repo}/resolve/{revision}/{path}"),
]
ROUTE_NAMES = frozenset(name for name, _, _ in ROUTES)

PARTS = {"{repo}": r"(?P<repo>(?:datasets/|spaces/)?[^/]+(?:/[^/]+)?)", "{path}": r"(?P<path>.+)"}
PATTERNS = [
    (
        name,
        methods.split("|"),
        re.compile(re.sub(r"{(\w+)}", lambda part: PARTS.get(part[0], f"(?P<{part[1]}>[^/]+)"), path)),
    )
    for name, methods, path in ROUTES
]


@dataclass
class Request:
    """What a route works on: ``args`` are the decoded parts of the path."""

    method: str
    route: str
    path: str
    args: dict[str, str] = field(default_factory=dict)
    query: dict[str, list[str]] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    token: Token | None = None

    @property
    def user(self) -> str | None:
        """The name of the account that asks; None without a token that is known."""
        return self.token.account.name or None if self.token else None

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body or b"{}")


@dataclass
class Response:
    """An answer; anything but bytes goes out as JSON."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def parse(method: str, target: str) -> Request:
    """Find the route of a request line. The path is split before it is decoded: ``refs%2Fpr%2F1`` is one part."""
    path, _, query = target.partition("?")
    # A data set is kept as the repository datasets/<id>, a Space as spaces/<id>.
    place = re.sub("^/api/(datasets|spaces)/", r"/api/models/\1/", path)
    for name, methods, pattern in PATTERNS:
        match = pattern.fullmatch(place)
        if match and method in methods:
            args = {key: unquote(value) for key, value in match.groupdict().items()}
            return Request(method, name, path, args, parse_qs(query))
    return Request(method, "unknown", path)
