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

from tasks.errors import UserError

#: Kind of secret -> what it looks like. Each starts where a word starts, and its parts are bounded: no text takes long.
PATTERNS = {
    "Hugging Face token": r"(?<![A-Za-z0-9])(?:hf_|api_org_)[A-Za-z0-9]{30,}",
    "GitHub token": r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,})",
    "GitLab token": r"(?<![A-Za-z0-9_-])glpat-[A-Za-z0-9_-]{20,}",
    "AWS access key": r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])",
    "Google API key": r"(?<![A-Za-z0-9_-])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])",
    "OpenAI or Anthropic API key": (
        # A digit is asked for: sk-telecom-kogpt2-... is a name.
        r"(?<![A-Za-z0-9_-])sk-(?:(?=[A-Za-z]{0,60}\d)[A-Za-z0-9]{20,}"
        r"|(?:ant|proj|svcacct|admin|or)-(?=[A-Za-z_-]{0,60}\d)[A-Za-z0-9_-]{20,})"
    ),
    "Stripe key": r"(?<![A-Za-z0-9_])[rs]k_live_[A-Za-z0-9]{16,}",
    "Slack token": r"(?<![A-Za-z0-9])(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{10,}",
    "private key": r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----",
    "JSON web token": r"(?<![\w-])eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    "W&B API key": (
        r"(?<![A-Za-z0-9])wandb_v1_[A-Za-z0-9_]{20,}"
        r"|(?i:wandb[_ .-]?(?:api[_ .-]?)?(?:key|login))\W{1,10}[0-9a-f]{40}(?![0-9A-Za-z])"
    ),
    "Kakao key": r"(?i:kakao[\w.-]{0,30}(?:key|secret|token|client_id))\W{1,8}[0-9a-f]{32}(?![0-9A-Za-z])",
    "Naver client secret": r"(?i:naver[\w.-]{0,30}secret)\W{1,8}(?=[A-Za-z_]{0,9}\d)[A-Za-z0-9_]{10}(?![A-Za-z0-9_])",
    "password in a URL": (
        r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/:@\"'<>]{0,100}:"
        r"(?![$<{*%]|pass(?:word)?@|token@|x+@)[^\s/@\"'<>]{1,200}@"
    ),
}
_PATTERNS = {kind: re.compile(pattern) for kind, pattern in PATTERNS.items()}
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

_COMMON = """
root user users username ubuntu debian admin administrator runner docker jovyan app guest test tester colab kaggle
vscode codespace gitpod node python dev developer data model models me home work local localhost nobody default server
client host main build jenkins gitlab github circleci ec2-user azureuser centos fedora linux windows macbook machine
compute worker master base train training student postgres mysql daemon system public shared korean korea seoul
"""
#: User and host names that tell nothing, or are words of prose.
COMMON_NAMES = frozenset(_COMMON.split())
_URL = re.compile(r"(?:https?|ftp|s3|gs|hf|ssh|git)://[^\s\"'<>`)\]]{1,2000}", re.IGNORECASE)
_END = r"[^\s\"'`<>|,;()\[\]{}]{0,300}"  # what a path goes on with
_PRIVATE = {
    "file URL": re.compile(rf"(?<![A-Za-z])file:/{{1,3}}[^\s/]{_END}", re.IGNORECASE),
    "Windows path": re.compile(
        r"(?<![A-Za-z0-9])[A-Za-z]:(?:\\{1,2}|/)(?i:Users|Documents and Settings|Program ?Files|ProgramData|Windows|Temp"
        rf"|home|data|work|workspace|projects?|dev|src|code|models?|datasets?|outputs?)(?![A-Za-z]){_END}"
    ),
    "absolute path": re.compile(
        r"(?<![\w./~@%+})\]<\\-])/(?:(?:root|tmp|mnt|Volumes|private/var|dev/shm|data\d*)(?![\w-])"
        r"|(?:home|Users|var|opt|srv|media|work|workspace|content|kaggle|scratch|storage|nas|nfs|gpfs|lustre|shared|projects?"
        rf"|cache|ssd\d*|hdd\d*|disk\d*|data-\w{{1,20}})(?=/[\w.~가-힣])){_END}"
    ),
    "home folder": re.compile(rf"(?<![\w/.~])~/[\w.]{_END}"),
}
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
        if len(name) >= shortest and name.lower() not in COMMON_NAMES:
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
