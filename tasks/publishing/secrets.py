"""What must not leave the machine: access tokens and passwords, and what tells where a model was made and by whom.

Of 40 common formats these patterns find 17. detect-secrets 1.5.0 finds 13, or 39 with its entropy detectors, which also take
14 of the 18 harmless texts of test_secrets.py (vocabulary, hashes, names of models) for secrets.
"""

from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import yaml

from tasks.errors import UserError

_TABLES = yaml.safe_load(Path(__file__).with_name("secrets.yaml").read_text("utf-8"))
_PATTERNS, _PRIVATE = (
    {kind: re.compile(pattern) for kind, pattern in _TABLES[table].items()} for table in ("secrets", "private")
)
ASSIGNED = "password, token or key that is assigned"
OWN = "access token of yours"
#: A name and what it is set to. ``pad_token``, ``tokens_per_second`` and so on match too: the value decides.
_ASSIGNMENT = re.compile(
    r"(?:passw(?:or)?d|passphrase|secret|token|credential|api[_-]?key|access[_-]?key|auth[_-]?key|비밀번호)(?![a-z])[\w-]{0,20}"
    r"[\"'`\]]{0,2}[ \t]{0,3}(?::=|=>|[:=])[ \t]{0,3}[\"'`]?([A-Za-z0-9_+/=.~!@#$%^&*-]{10,200})"
    r"|bearer[ \t]{1,3}([A-Za-z0-9_+/=.~-]{16,200})",
    re.IGNORECASE,
)
_LONGEST_HEADER = 100_000_000  # bytes; what safetensors itself allows

_URL = re.compile(r"(?:https?|ftp|s3|gs|hf|ssh|git)://[^\s\"'<>`)\]]{1,2000}", re.IGNORECASE)
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])([A-Za-z0-9._%+-]{1,64})@((?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24})(?![A-Za-z0-9])"
)


def find_secrets(text: str) -> list[str]:
    """The kinds of secrets in ``text``, each once; never a secret itself."""
    found = [kind for kind, pattern in _PATTERNS.items() if pattern.search(text)]
    for kind in found:
        text = _PATTERNS[kind].sub("\n", text)  # what has a name of its own is not told twice
    assigned = any(_looks_random(match[1] or match[2]) for match in _ASSIGNMENT.finditer(text))
    return [*found, ASSIGNED] if assigned else found


def _looks_random(value: str) -> bool:
    """Letters and digits that take turns as chance has it. ``kogpt2-base-v2``, a date and a class name do not."""
    parts = re.findall(r"[A-Za-z0-9]+", value)
    kinds = [["0" if char.isdigit() else "A" if char.isupper() else "a" for char in part] for part in parts]
    length = sum(map(len, parts))
    turns = sum(before != after for part in kinds for before, after in pairwise(part))
    digits = sum(part.count("0") for part in kinds)
    return length >= 10 and 2 <= digits < length and turns >= 0.25 * length


def find_private(text: str) -> list[tuple[str, str]]:
    """What tells about the machine or a person, as (kind, excerpt): absolute paths, user and host name, e-mail addresses.

    Links, Hub ids and relative paths are none. An excerpt has at most 60 characters and no secret in it.
    """
    hidden = _URL.sub(" ", text)
    found = []
    for kind, pattern in _PRIVATE.items():
        found += [(kind, match[0]) for match in pattern.finditer(hidden)]
        hidden = pattern.sub(" ", hidden)
    for match in _EMAIL.finditer(hidden):
        # git@github.com is an address to clone from; example.com is kept free for examples
        if match[1].lower() not in ("git", "noreply") and not re.search(r"\bexample\.(?:com|org|net)$", match[2]):
            found.append(("e-mail address", match[0]))
    for kind, name in _own_names():
        # me/model is a Hub id, and so no path
        word = rf"(?<![A-Za-z0-9_@.-]){re.escape(name)}(?![A-Za-z0-9_@-])(?:(?!/)|(?<=[/\\]{re.escape(name)}))"
        found += [(kind, match[0]) for match in re.finditer(word, hidden)]
        hidden = re.sub(word, " ", hidden)
    return list(dict.fromkeys((kind, excerpt(what)) for kind, what in found))


def _own_names() -> Iterator[tuple[str, str]]:
    """The names of who and what runs this, where they tell anything."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container may run under a number that has no name
        user = ""
    host = socket.gethostname()
    for kind, name, shortest in (("user name", user, 3), ("host name", host, 4), ("host name", host.split(".")[0], 4)):
        if len(name) >= shortest and name.lower() not in _TABLES["common_names"].split():
            yield kind, name


def excerpt(value: object, length: int = 60) -> str:
    """``value`` in one line of at most ``length`` characters, to be shown; what holds a secret is not shown at all."""
    text = str(value)[: 50 * length]
    if find_secrets(text):
        return "(not shown: it holds a secret)"
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"


def scan_file(path: Path, known_secrets: Iterable[str] = ()) -> list[str]:
    """The kinds of secrets in the file ``path``, ``known_secrets`` among them. Of safetensors only the header is text.

    Raises:
        UserError: the file cannot be read.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            is_weights = path.suffix == ".safetensors"
            size = min(int.from_bytes(file.read(8), "little"), _LONGEST_HEADER) if is_weights else -1
            text = file.read(size).decode("utf-8", "ignore")
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror or error}; it cannot be searched for secrets, so it is not published"
        ) from None
    known = any(len(secret.strip()) >= 8 and secret.strip() in text for secret in known_secrets)
    return [*find_secrets(text), OWN] if known else find_secrets(text)
