"""What the Hub says, and what comes of it: another attempt, a line for the user, or the defect as it is."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from types import SimpleNamespace

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import hf_raise_for_status

from tasks.errors import UserError
from tasks.publishing import refusals
from tasks.publishing.refusals import LONGEST_PAUSE, PAUSES, TRANSIENT, Conflict, retried

URL = "https://huggingface.co/api/models/me/x/commit/main"
#: As hf_xet words it: a builtin ConnectionError without a response.
XET = "Network error: Request error: HTTP status {}, domain: https://huggingface.co/api/models/me/x/xet-write-token/main"


@pytest.fixture
def naps(monkeypatch) -> list[float]:
    """The pauses that were made; nobody sleeps."""
    pauses: list[float] = []
    monkeypatch.setattr(refusals, "time", SimpleNamespace(sleep=pauses.append))
    return pauses


def answer(status: int, message: str = "so it is", **headers: str) -> HfHubHTTPError:
    """The error that huggingface_hub makes of an answer of the Hub."""
    sent = {"X-Error-Message": message} | {name.replace("_", "-"): value for name, value in headers.items()}
    with pytest.raises(HfHubHTTPError) as caught:
        hf_raise_for_status(httpx2.Response(status, headers=sent, request=httpx2.Request("POST", URL)))
    return caught.value


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


class Request:
    """Fails with each of the errors in turn, or always with the last one; then it works."""

    def __init__(self, *errors: BaseException, forever: bool = False):
        self.errors, self.forever, self.calls = list(errors), forever, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors[0] if self.forever else self.errors.pop(0)
        return "done"


def refused(request: Callable[[], object]) -> str:
    """The one line for the user; an error that is told like this carries no chain of causes along."""
    with pytest.raises(UserError) as caught:
        retried("sending to me/x", request)
    assert caught.value.__suppress_context__ and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_passes_by_itself_is_tried_again(naps, capsys, status):
    assert status in TRANSIENT
    request = Request(answer(status), answer(status))
    assert retried("sending to me/x", request) == "done"
    assert (request.calls, naps) == (3, [1.0, 2.0])
    said = "the Hub asks for fewer requests (429)" if status == 429 else f"the Hub answers {status} (so it is)"
    assert capsys.readouterr().err.splitlines() == [
        f"sending to me/x: {said}; trying again in 1 s",
        f"sending to me/x: {said}; trying again in 2 s",
    ]


def test_pauses_grow_and_end(naps):
    request = Request(answer(503), forever=True)
    assert refused(request) == "sending to me/x: the Hub answers 503 (so it is)"
    assert naps == [1, 2, 5, 10, 20, 40, 60, 90] == list(PAUSES)
    assert request.calls == len(naps) + 1


@pytest.mark.parametrize(
    ("asked", "waited"),
    [("30", 30), ("0", 1), ("86400", LONGEST_PAUSE), ("Wed, 21 Oct 2015 07:28:00 GMT", 1), ("", 1), ("-5", 1)],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_server_may_ask_for_patience(naps, status, asked, waited):
    assert retried("sending", Request(answer(status, Retry_After=asked))) == "done"
    assert naps == [waited]


@pytest.mark.parametrize(
    ("limit", "waited"),
    [('"api";r=0;t=55', 56), ('"api";r=0;t=9999', LONGEST_PAUSE), ('"api";r=3;t=55', 1), ("so?", 1)],
)
def test_the_hub_tells_when_its_window_ends(naps, limit, waited):
    """The Hub itself sends no Retry-After with a 429."""
    assert retried("sending", Request(answer(429, ratelimit=limit))) == "done"
    assert naps == [waited]


@pytest.mark.parametrize(
    ("status", "message", "told"),
    [
        (400, "so it is", "the Hub answers 400 (so it is)"),
        (
            401,
            "Invalid credentials",
            "the Hub does not accept the token (revoked, expired?); log in again with `hf auth login`, or set HF_TOKEN",
        ),
        (
            403,
            "you must use a write token",
            "the Hub refuses (you must use a write token); use a token with write access, or another --repo_id",
        ),
        (404, "Repository not found", "not found on the Hub, or not visible to this token (Repository not found)"),
        (409, "so it is", "the Hub answers 409 (so it is)"),
        (
            413,
            "Payload Too Large",
            "no room is left for it on the Hub (Payload Too Large); free some, or publish to another namespace",
        ),
        (
            402,
            "Payment required",
            "no room is left for it on the Hub (Payment required); free some, or publish to another namespace",
        ),
        (
            403,
            "Private repository storage limit reached, please upgrade",
            "no room is left for it on the Hub (Private repository storage limit reached, please upgrade); free some, or "
            "publish to another namespace",
        ),
    ],
)
def test_a_refusal_for_good_is_told_at_once(naps, status, message, told):
    request = Request(answer(status, message), forever=True)
    assert refused(request) == f"sending to me/x: {told}"
    assert (request.calls, naps) == (1, [])


def test_a_rate_limit_is_no_full_disk(naps, capsys):
    assert retried("sending", Request(answer(429, "quota of requests exceeded"))) == "done"
    assert capsys.readouterr().err == "sending: the Hub asks for fewer requests (429); trying again in 1 s\n"


def test_a_branch_that_moved_on_is_a_conflict(naps):
    request = Request(answer(412, "A commit has happened since. Please refresh and try again."), forever=True)
    with pytest.raises(Conflict, match=r"the Hub answers 412 \(A commit has happened since"):
        retried("sending", request)
    assert (request.calls, naps) == (1, [])


@pytest.mark.parametrize(
    "said", [XET.format("server error (503 Service Unavailable)"), "Network error: Request error: error sending request"]
)
def test_xet_is_tried_again_and_then_there_is_another_way(naps, said):
    request = Request(ConnectionError(said), forever=True)
    message = refused(request)
    assert message.startswith("sending to me/x: the Hub cannot be reached (ConnectionError: Network error: Request error")
    assert message.endswith("; HF_HUB_DISABLE_XET=1 sends the files another way")
    assert naps == list(PAUSES)


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "404 Not Found"])
def test_what_xet_refuses_for_good_is_told_at_once(naps, status):
    message = refused(Request(ConnectionError(XET.format(f"client error ({status})")), forever=True))
    assert f"({status})" in message and message.endswith("; HF_HUB_DISABLE_XET=1 sends the files another way")
    assert naps == []


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (httpx2.ConnectError("[Errno 111] Connection refused"), "ConnectError"),
        (httpx2.RemoteProtocolError("Server disconnected without sending a response."), "RemoteProtocolError"),
        (httpx2.ReadTimeout("timed out"), "ReadTimeout"),
        (ConnectionResetError(104, "Connection reset by peer"), "ConnectionResetError"),
        (TimeoutError("timed out"), "TimeoutError"),
    ],
)
def test_a_connection_that_breaks_is_tried_again(naps, error, name):
    assert retried("sending", Request(error)) == "done"
    assert naps == [1]
    message = refused(Request(error, forever=True))
    assert message == f"sending to me/x: the Hub cannot be reached ({name}: {error})"


def test_an_error_in_a_thread_of_an_upload(naps):
    """huggingface_hub wraps what fails in a thread: the answer stands in the cause."""
    wrapped = caused(RuntimeError("Error while uploading 'model.safetensors' to the Hub."), answer(500, "storage is down"))
    request = Request(wrapped, forever=True)
    assert refused(request) == "sending to me/x: the Hub answers 500 (storage is down)"
    assert naps == list(PAUSES)
    naps.clear()
    wrapped = caused(RuntimeError("Error while uploading 'model.safetensors' to the Hub."), answer(401, "Invalid"))
    assert "does not accept the token" in refused(Request(wrapped, forever=True))
    assert naps == []
    slow = caused(RuntimeError("Error while uploading"), answer(429, Retry_After="20"))
    assert retried("sending", Request(slow)) == "done"
    assert naps == [20]


def test_a_file_that_could_not_be_read_from_the_hub(naps):
    """Downloads raise an error of their own, with the answer as its cause."""
    lost = caused(LocalEntryNotFoundError("An error happened while trying to locate the file"), answer(503))
    assert retried("reading", Request(lost)) == "done"
    assert naps == [1]
    assert retried("reading", Request(LocalEntryNotFoundError("check your connection"))) == "done"


def test_a_page_in_place_of_an_answer(naps):
    page = json.JSONDecodeError("Expecting value", "<html>", 0)
    assert retried("sending", Request(page)) == "done"
    assert naps == [1]
    told = "the Hub answers with something that is not JSON; a proxy or a login page may stand in between"
    assert refused(Request(page, forever=True)) == f"sending to me/x: {told}"


def test_offline_mode_is_told_at_once(naps):
    error = OfflineModeIsEnabled(f"Cannot reach {URL}: offline mode is enabled.")
    request = Request(error, forever=True)
    assert refused(request) == "sending to me/x: HF_HUB_OFFLINE is set, so nothing can be sent; unset it"
    wrapped = caused(LocalEntryNotFoundError("we cannot find the requested files in the disk cache"), error)
    assert refused(Request(wrapped, forever=True)).endswith("HF_HUB_OFFLINE is set, so nothing can be sent; unset it")
    assert (request.calls, naps) == (1, [])


@pytest.mark.parametrize(
    "error",
    [
        KeyError("oid"), ValueError("Expecting value"), TypeError("503"), RuntimeError("429"), OSError(errno.ENOSPC, "full"),
        UserError("so it is"), KeyboardInterrupt(),
    ],
)  # fmt: skip
def test_a_defect_goes_through_untouched(naps, error):
    request = Request(error)
    with pytest.raises(type(error)) as caught:
        retried("sending", request)
    assert caught.value is error and error.__cause__ is None
    assert (request.calls, naps) == (1, [])


def test_a_long_answer_is_one_short_line(naps):
    message = refused(Request(answer(400, "no " * 1000)))
    assert len(message) < 400
