import http.client
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sample_models import tiny_models

WAIT_SECONDS = 60


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "loadtest", "web", *map(str, arguments)]


@dataclass(frozen=True)
class WebUI:
    """A client of Locust's web UI that uses the same requests as its page."""

    port: int
    target: str

    def get(self, path: str) -> str:
        """Return the answer to a GET request."""
        return self._ask("GET", path)

    def post(self, path: str, **form: object) -> str:
        """Return the answer to a posted form."""
        return self._ask("POST", path, form)

    def _ask(self, method: str, path: str, form: dict[str, object] | None = None) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_SECONDS)
        with closing(connection):
            connection.request(
                method,
                path,
                body=urllib.parse.urlencode(form or {}),
                headers={"Content-Type": "application/x-www-form-urlencoded"},
            )
            return connection.getresponse().read().decode()

    def swarm(self, **options: object) -> None:
        """Start the users."""
        self.post("/swarm", user_count=2, spawn_rate=2, host=self.target, **options)

    def stop(self) -> None:
        """Stop the users when all of them run: Locust may lose a stop while it starts them."""
        deadline = time.monotonic() + WAIT_SECONDS
        while self.statistics()["state"] != "running":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        self.post("/stop")

    def statistics(self) -> dict[str, Any]:
        """Return the statistics that the page polls, with the two added tables by key."""
        statistics = json.loads(self.get("/stats/requests"))
        tables = {table["key"]: table["data"] for table in statistics["extended_stats"]}
        return statistics | {"result": tables["accuracy"][0], "classes": tables["classes"]}

    def summary(self) -> dict[str, Any]:
        """Return the content of the download."""
        return json.loads(self.get("/loadtest/summary.json"))

    def wait_until(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Wait for a summary that meets a condition, and return it."""
        deadline = time.monotonic() + WAIT_SECONDS
        # The summary is None before the first start.
        while (summary := self.summary()) is None or not condition(summary):
            assert time.monotonic() < deadline, summary
            time.sleep(0.05)

    def settled(self, requests: int) -> dict[str, Any]:
        """Return the statistics once Locust, which caches them for seconds, has enough requests."""
        deadline = time.monotonic() + WAIT_SECONDS
        while (shown := self.statistics())["stats"][-1]["num_requests"] != requests:
            assert time.monotonic() < deadline, shown
            time.sleep(0.2)
        return shown


@contextmanager
def running(image_target: str, data_dir: Path, *more: object) -> Iterator[WebUI]:
    """Run `python -m loadtest web` without starting users."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = ("--target", image_target, "--model", "cat", "--data-dir", data_dir)
    process = subprocess.Popen(
        command(*flags, "--web-host", "127.0.0.1", "--web-port", port, *more),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    started = WebUI(port, image_target)
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        while not _answers(started):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.1)
        yield started
    finally:
        process.terminate()
        process.wait(WAIT_SECONDS)


@pytest.fixture(scope="module")
def web_ui(image_target, data_dir) -> Iterator[WebUI]:
    """The web UI of a single process."""
    with running(image_target, data_dir) as started:
        yield started


def _answers(web_ui: WebUI) -> bool:
    try:
        web_ui.get("/")
    except ConnectionRefusedError:
        return False
    return True


@pytest.fixture
def stopped(web_ui) -> Iterator[WebUI]:
    """The web UI, without users before and after the test."""
    web_ui.post("/stop")
    yield web_ui
    web_ui.post("/stop")


def test_the_page_has_tabs_for_accuracy_beside_latency(web_ui):
    """The page's template arguments have both tabs, a table for each, and the model option."""
    page = web_ui.get("/")

    assert '"extended_tabs"' in page
    assert '"title": "Top-1"' in page
    assert '"title": "p99 (ms)"' in page
    assert '"model_version"' in page


def test_accuracy_and_latency_of_the_same_answers_are_shown(stopped, split):
    """A model that always answers 3 shows 100 % for cats, the share of cats, and timings."""
    stopped.swarm(model="cat", batch=24)
    stopped.wait_until(lambda summary: summary["answered"] >= 700)
    stopped.stop()

    summary = stopped.summary()
    shown = stopped.settled(summary["answered"])
    cats = float((split.labels == 3).mean())
    assert shown["result"]["top_one"] == f"{100 * cats:.2f} %"
    assert shown["result"]["images"] == f"{24 * summary['answered']:,}"
    assert shown["result"]["errors"] == "none"
    assert shown["result"]["version"] == "1"
    assert shown["result"]["median_ms"] == f"{summary['latency_ms']['p50']:.3f}"
    assert shown["result"]["tail_ms"] == f"{summary['latency_ms']['p99']:.3f}"
    assert {"name": "cat", "top_one": "100.0 %"} in shown["classes"]


def test_a_new_run_starts_its_counts_afresh(stopped):
    """After a good run, a run with an unknown model shows only its errors."""
    stopped.swarm(model="cat", batch=1)
    stopped.wait_until(lambda summary: summary["answered"] > 0)
    stopped.stop()
    stopped.swarm(model="nobody", batch=1)
    stopped.wait_until(lambda summary: summary["failed"] > 0)
    stopped.stop()

    summary = stopped.summary()
    shown = stopped.settled(summary["failed"])
    assert summary["answered"] == 0
    assert list(summary["errors"]) == ["NOT_FOUND"]
    assert shown["result"]["errors"] == f"NOT_FOUND {summary['failed']:,}"
    assert shown["result"]["top_one"] == "-"
    assert shown["result"]["tail_ms"] == "n/a (needs 662)"
    assert "nobody" in shown["errors"][0]["error"]


def test_the_reset_button_starts_counts_afresh(stopped):
    """After a reset no earlier answer is counted."""
    stopped.swarm(model="cat", batch=1)
    stopped.wait_until(lambda summary: summary["answered"] > 0)
    stopped.stop()
    stopped.post("/stats/reset")

    assert stopped.summary()["answered"] == 0
    assert stopped.statistics()["result"]["images"] == "0"


def test_a_form_that_cannot_be_right_sends_nothing(stopped):
    """A batch of 0 is logged, which the UI shows, and no request is sent."""
    stopped.swarm(model="cat", batch=0)
    deadline = time.monotonic() + WAIT_SECONDS
    while "'0' received, expected a whole number of 1 or more" not in stopped.get("/logs"):
        assert time.monotonic() < deadline
        time.sleep(0.05)

    summary = stopped.summary()
    assert (summary["answered"], summary["failed"]) == (0, 0)


def test_several_processes_are_shown_together(image_target, data_dir, split):
    """With two workers the master counts all requests, with accuracy and percentiles."""
    with running(image_target, data_dir, "--processes", 2) as distributed:
        distributed.swarm(model="cat", batch=1)
        distributed.wait_until(lambda summary: summary["answered"] >= 100)
        distributed.post("/stop")
        requests = distributed.statistics()["stats"][-1]["num_requests"]
        deadline = time.monotonic() + WAIT_SECONDS
        while (summary := distributed.summary())["answered"] != requests or requests == 0:
            assert time.monotonic() < deadline, (summary["answered"], requests)
            time.sleep(0.5)
            requests = distributed.statistics()["stats"][-1]["num_requests"]

    cats = float((split.labels == 3).mean())
    assert summary["accuracy"]["top1"] == pytest.approx(cats, abs=0.1)
    assert summary["accuracy"]["n"] == summary["latency_ms"]["n"] == summary["answered"]
    assert summary["latency_ms"]["p50"] > 0


def refused(*flags) -> str:
    """Start Locust, which must end with exit code 2 before the web UI starts; return its errors."""
    finished = subprocess.run(
        command(*flags, "--model", "cat", "--web-host", "127.0.0.1", "--web-port", 0),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_SECONDS,
    )
    assert finished.returncode == 2
    return finished.stderr


def test_locust_ends_when_there_are_no_images(image_target, tmp_path):
    """Without images the command ends with one line and exit code 2, before the web UI starts."""
    errors = refused(f"--target={image_target}", "--data-dir", tmp_path)

    assert f"error: {tmp_path} holds no CIFAR-10" in errors


def test_a_split_seed_for_given_test_pictures_is_refused(image_target, data_dir):
    """It is refused as by `python -m loadtest run`, before the web UI starts."""
    errors = refused(f"--target={image_target}", "--data-dir", data_dir, "--split-seed", 7)

    assert "error: split seed 7 received, but the data name their test" in errors


def test_users_connect_with_mutual_tls(secure, data_dir):
    """The flags of the connection hold for the users, and no page shows a header."""
    flags = (*secure.flags, "--header", "x-secret:battery-staple")
    with running(secure.rpc, data_dir, *flags) as started:
        started.swarm(model="cat", batch=1)
        started.wait_until(lambda summary: summary["answered"] > 50)
        started.post("/stop")
        summary = started.summary()
        pages = "".join(started.get(path) for path in ("/", "/logs", "/stats/requests"))

    assert summary["failed"] == 0
    assert "battery-staple" not in pages


def test_own_pictures_are_scored_by_their_own_classes(running_server, tmp_path):
    """Pictures of any size are scaled for the model, and the tab of classes has their names."""
    tiny_models.brightness(tmp_path / "models", "lamp", ("dark", "light"))
    for name, shade in (("dark", 10), ("light", 200)):
        (tmp_path / "data" / "test" / name).mkdir(parents=True)
        picture = Image.new("RGB", (50, 40), (shade,) * 3)
        picture.save(tmp_path / "data" / "test" / name / "1.png")
    shutil.copytree(tmp_path / "data", tmp_path / "other")
    (tmp_path / "other" / "test" / "dark").rename(tmp_path / "other" / "test" / "moon")
    with running_server(tmp_path / "models") as target:
        with running(target, tmp_path / "data") as started:
            started.swarm(model="lamp", batch=1)
            started.wait_until(lambda summary: summary["answered"] > 10)
            started.stop()
            summary = started.summary()
        with running(target, tmp_path / "other") as started:
            started.swarm(model="lamp", batch=1)
            deadline = time.monotonic() + WAIT_SECONDS
            while "nothing is sent: other has 2 classes: light, moon" not in started.get("/logs"):
                assert time.monotonic() < deadline
                time.sleep(0.05)

    assert summary["failed"] == 0
    assert summary["accuracy"]["per_class"] == {"dark": 1.0, "light": 1.0}
