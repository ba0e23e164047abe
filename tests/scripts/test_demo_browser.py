"""The page of scripts/demo.py in a headless Chromium: a text, a click, an answer, an example, an error."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from urllib.parse import urlparse

import pytest

from tasks.inference import load
from tests.conftest import ROOT
from tests.scripts.conftest import ROWS

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")

pytest.importorskip("selenium", reason="selenium is not installed")
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="no chromium with chromedriver on this machine")

#: The start of Chromium alone takes seconds where two cores have other work, too.
PATIENCE = 90


@pytest.fixture(scope="module")
def served(finished):
    """The page of a classifier, served by the script; Ctrl-C is how it ends, without an error."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(ROOT / "scripts" / "demo.py"), str(finished("nli")), "--port", str(port)]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        assert line == f"{finished('nli')} answers at http://127.0.0.1:{port}/ until Ctrl-C\n", process.stderr.read()
        yield f"http://127.0.0.1:{port}/"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0 and "error:" not in err and "Traceback" not in err, err


@pytest.fixture
def browser(tmp_path):
    """A Chromium that asks for Korean."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    flags = ["headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-background-networking", "window-size=1200,900"]
    for flag in [*flags, "lang=ko-KR", "accept-lang=ko-KR", f"user-data-dir={tmp_path / 'profile'}"]:
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def test_type_click_and_read_the_answer(browser, served, finished, tmp_path):
    from selenium.webdriver.support.ui import WebDriverWait

    def find(css):
        return WebDriverWait(browser, PATIENCE).until(lambda driver: driver.find_elements("css selector", css))[0]

    def until(css, text):
        wait = WebDriverWait(browser, PATIENCE)
        wait.until(lambda driver: text in find(css).text, f"{text!r} is not in {find(css).text!r}")

    def press(css):  # by a script, since a row of a table that is still growing moves away
        browser.execute_script("arguments[0].click()", find(css))

    browser.get(served)
    until("#does", "한국어 가설이 전제에서 따라 나오는지")
    assert (find("#ask").text, find("#premise").text) == ("답 보기", "전제")
    press("#ask")  # with nothing in it
    until("#state", "‘전제’ 칸에 글을 입력하세요.")

    model = load(str(finished("nli")))
    row = {key: ROWS["nli"][0][key] for key in ("premise", "hypothesis")}
    for name, text in row.items():
        find(f"#{name} textarea").send_keys(text)
    press("#ask")
    until("#state", "초 걸렸습니다.")
    bars = find("#answer").text.split()
    for label, probability in model(row)["probabilities"].items():
        assert bars[len(bars) - bars[::-1].index(label)] == f"{100 * probability:.0f}%"
    assert browser.save_screenshot(str(tmp_path / "page.png")) and (tmp_path / "page.png").stat().st_size > 10_000

    press("#examples tbody tr")
    premise = model.task.usage_example["premise"]
    WebDriverWait(browser, PATIENCE).until(lambda _: find("#premise textarea").get_property("value") == premise)

    agent = {"userAgent": browser.execute_script("return navigator.userAgent"), "acceptLanguage": "en-US"}
    browser.execute_cdp_cmd("Emulation.setUserAgentOverride", agent)
    browser.refresh()
    until("#does", "This model decides whether a Korean hypothesis follows")
    assert (find("#ask").text, find("#premise").text) == ("Answer", "Premise")

    logs = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    asked = {urlparse(log["params"]["request"]["url"]) for log in logs if log["method"] == "Network.requestWillBeSent"}
    assert {url.netloc for url in asked if url.scheme in ("http", "https")} == {urlparse(served).netloc}  # nothing else
