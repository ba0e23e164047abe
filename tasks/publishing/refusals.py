"""Errors of the Hub: which requests are retried, and what the user is told."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from huggingface_hub.utils import parse_ratelimit_headers

from tasks.errors import UserError
from tasks.network import causes, is_named, is_network, status_of

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds before the second, third ... attempt, four minutes in all: enough for a Hub that restarts.
PAUSES = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 90.0)
#: Seconds; a server may ask for more.
LONGEST_PAUSE = 300.0
#: Statuses after which the same request may succeed later.
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
#: What the user is told of an answer of the Hub, by its status.
ANSWERS = {
    401: "the Hub does not accept the token (revoked, expired?); log in again with `hf auth login`, or set HF_TOKEN",
    403: "the Hub refuses ({said}); use a token with write access, or another --repo_id",
    404: "not found on the Hub, or not visible to this token ({said})",
    413: "no room is left for it on the Hub ({said}); free some, or publish to another namespace",
    429: "the Hub asks for fewer requests (429)",
}


class Conflict(Exception):
    """Somebody else has committed since the repository was read."""


def retried(what: str, request: Callable[[], T], pauses: Sequence[float] = PAUSES) -> T:
    """Return ``request()``, retried after ``pauses`` (seconds) while the Hub is busy, broken or unreachable.

    huggingface_hub retries most requests, but neither commits nor what Xet refuses. ``what`` is being done, for messages.

    Raises:
        Conflict: the Hub answers 412: somebody else has committed.
        UserError: the Hub refuses, or does not answer at the last attempt either.
    """
    remaining = iter(pauses)
    while True:
        try:
            return request()
        except Exception as error:
            message = refusal(error)
            if message is None:
                raise
            if status_of(error) == 412:
                raise Conflict(message) from error
            pause = next(remaining, None)
            if pause is None or not is_transient(error):
                raise UserError(f"{what}: {message}") from None
            seconds = min(max(pause, retry_after(error)), LONGEST_PAUSE)
            logger.warning("%s: %s; trying again in %.0f s", what, message, seconds)
            time.sleep(seconds)


def is_transient(error: Exception) -> bool:
    """Whether the same request may succeed later. Xet raises builtin ConnectionErrors with the status in their text."""
    status = status_of(error)
    if status is not None:
        return status in TRANSIENT
    if isinstance(error, json.JSONDecodeError):
        return True  # a proxy's page instead of an answer
    told = re.search(r"\b(40[134])\b", str(error))
    return is_network(error) and not is_named(error, "OfflineModeIsEnabled") and not told


def retry_after(error: Exception) -> float:
    """The seconds that the server asks to wait, 0 if it does not say."""
    for cause in causes(error):
        headers = getattr(getattr(cause, "response", None), "headers", {})
        if headers.get("Retry-After", "").isdigit():
            return float(headers["Retry-After"])
        window = parse_ratelimit_headers(headers)  # the Hub's own header
        if window and not window.remaining:
            return window.reset_in_seconds + 1.0
    return 0.0


def refusal(error: Exception) -> str | None:
    """What to tell the user, in one line; None if the error is neither an answer of the Hub nor a lost connection."""
    status = status_of(error)
    # Uploads run in threads, and their errors are wrapped in a RuntimeError.
    answer = next((cause for cause in causes(error) if getattr(cause, "response", None) is not None), error)
    said = " ".join(str(getattr(answer, "server_message", None) or answer).split())[:300]
    if is_named(error, "OfflineModeIsEnabled"):
        return "HF_HUB_OFFLINE is set, so nothing can be sent; unset it"
    if status is not None:
        full = status == 413 or (status in (402, 403) and re.search("quota|storage limit|payment", said, re.IGNORECASE))
        return ANSWERS.get(413 if full else status, "the Hub answers {status} ({said})").format(status=status, said=said)
    if isinstance(error, json.JSONDecodeError):
        return "the Hub answers with something that is not JSON; a proxy or a login page may stand in between"
    if is_network(error):
        # A builtin ConnectionError is Xet's: other requests fail with errors of the HTTP client.
        xet = "; HF_HUB_DISABLE_XET=1 sends the files another way" if type(error) is ConnectionError else ""
        return f"the Hub cannot be reached ({type(error).__name__}: {said[:160]}){xet}"
    return None
