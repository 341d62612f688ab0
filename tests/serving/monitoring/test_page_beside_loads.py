"""The metrics page is read all the time while models come and go."""

import shutil
import sys
import threading
import time
from pathlib import Path

import pytest
from calling.rest_client import Http
from running import servers
from sample_models import example_models, tiny_models

from serving.monitoring import shared_result

PAGE = "/monitoring/prometheus/metrics"
READS = 2000
READERS = 2


@pytest.fixture
def often_switched_threads(monkeypatch):
    """Threads are switched every few microseconds, and every request makes a page anew."""
    monkeypatch.setattr(shared_result, "_RESULTS_IN_A_ROW", 10 * READS)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(interval)


class Readers:
    """Threads that read the page until each has read it often enough.

    Attributes:
        refused: Status and body of each answer that was not 200.
        reads: Number of answers.
    """

    def __init__(self, address: str) -> None:
        self.refused: list[tuple[int, bytes]] = []
        self.reads = 0
        self._threads = [
            threading.Thread(target=self._read, args=(address,), daemon=True)
            for _ in range(READERS)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def reading(self) -> bool:
        """Whether a thread has pages left to read."""
        return any(thread.is_alive() for thread in self._threads)

    def _read(self, address: str) -> None:
        http = Http(address)
        for _ in range(READS // READERS):
            status, _, body = http.ask("GET", PAGE)
            self.reads += 1
            if status != 200:
                self.refused.append((status, body))


def come_and_go(models_dir: Path, names: list[str], made: Path, readers: Readers) -> int:
    """Add and remove models until the readers end; return how often."""
    changes = 0
    while readers.reading:
        # The second version brings signatures of other APIs to a model that is on the page.
        for version, source in ((1, "identity"), (2, "numbers")):
            for name in names:
                (models_dir / name).mkdir(exist_ok=True)
                shutil.copytree(made / source / "1", models_dir / name / "copied")
                (models_dir / name / "copied").rename(models_dir / name / str(version))
            time.sleep(0.05)
        for name in names:
            shutil.rmtree(models_dir / name)
        time.sleep(0.05)
        changes += 1
    return changes


@pytest.mark.usefixtures("often_switched_threads")
def test_no_read_of_the_page_fails_while_models_come_and_go(tmp_path):
    """The page is read thousands of times while threads load models; every answer is 200."""
    made, served = tmp_path / "made", tmp_path / "served"
    tiny_models.identity(made)
    example_models.numbers(made)
    tiny_models.identity(served, "stays")
    names = [f"comes-{number}" for number in range(4)]
    with servers.model_server(served, file_system_poll_wait_seconds=0.01) as server:
        readers = Readers(f"127.0.0.1:{server.port}")
        changes = come_and_go(served, names, made, readers)

    assert readers.reads == READS
    assert readers.refused == []
    assert changes > 10
