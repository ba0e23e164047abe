"""Fixtures of tests that talk to a Hub: ``pytest_plugins = ["tests.helpers.hub_fixtures"]``.

Import helpers from ``tests.helpers.hub_server``: a module that is imported before it becomes a plugin makes pytest warn.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from tests.helpers.hub_server import ME, HubServer, hub_env


@pytest.fixture
def hub_naps(monkeypatch) -> list[float]:
    """The seconds huggingface_hub wanted to sleep between retries of this process; it does not sleep them."""
    from huggingface_hub import file_download
    from huggingface_hub.utils import _http

    naps: list[float] = []
    for module in (_http, file_download):  # their own names only: the test's time.sleep stays what it is
        monkeypatch.setattr(module, "time", SimpleNamespace(sleep=naps.append, time=time.time, monotonic=time.monotonic))
    return naps


@pytest.fixture
def hub(tmp_path, monkeypatch, hub_naps) -> Iterator[HubServer]:
    """A running Hub with the user ``me``, whose write token is HF_TOKEN; this process and its children talk to it.

    ``tests/conftest.py`` has taken huggingface_hub offline before it was imported, and what it read from the environment
    then stands in its constants: they are set here one by one. Children get ``hub_env(hub)``.
    """
    import datasets
    from huggingface_hub import constants, hf_api
    from huggingface_hub.utils import close_session

    home = tmp_path / "hf_home"
    with HubServer() as server:
        server.add_account("me", ME)
        settings = {
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_DISABLE_TELEMETRY": True,  # asks for /api/agent-harnesses once a process, where a known agent runs it
            "HF_HUB_DISABLE_PROGRESS_BARS": True,
            "ENDPOINT": server.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": server.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_ASSETS_CACHE": str(home / "assets"),
            "HF_XET_CACHE": str(home / "xet"),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
        }
        for name, value in settings.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", server.url)
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(hf_api.api, "endpoint", server.url)  # the HfApi behind huggingface_hub.create_repo and others
        if "transformers.utils.hub" in sys.modules:
            monkeypatch.setattr(sys.modules["transformers.utils.hub"], "_hf_api", None)
        env = hub_env(server, ME, home)
        for name in set(os.environ) - set(env):
            monkeypatch.delenv(name)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        close_session()
        yield server
        close_session()
