import asyncio

import pytest
from calling.rest_client import Http
from running import servers

from serving.errors import Unavailable
from serving.monitoring import version_statistics
from serving.monitoring.metrics_page import MetricsPage
from serving.monitoring.shared_result import SharedResult
from serving.protocols.kserve.model_repository import ModelRepository


class Maker:
    """Makes numbered pages; tests can make it wait or fail."""

    def __init__(self) -> None:
        self.made = 0
        self.now = 0.0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.error: Exception | None = None

    async def make(self) -> bytes:
        """Return the next page."""
        await self.go_on.wait()
        self.made += 1
        if self.error:
            raise self.error
        return b"%d" % self.made


def run(scenario):
    async def whole():
        maker = Maker()
        return await scenario(maker, SharedResult(maker.make, clock=lambda: maker.now))

    return asyncio.run(whole())


def test_scrapers_get_new_pages():
    """A scraper that asks every half second gets a new page each time."""

    async def scenario(maker, page):
        for number in range(1, 100):
            assert await page.get() == b"%d" % number
            maker.now += 0.5

    run(scenario)


def test_a_flood_shares_the_last_page():
    """1,000 requests in a row get 8 pages; 0.5 s later, 1,000 more share one further page."""

    async def scenario(maker, page):
        pages = {id(await page.get()) for _ in range(1000)}
        first = maker.made
        maker.now += 0.5
        pages |= {id(await page.get()) for _ in range(1000)}
        return len(pages), first, maker.made

    assert run(scenario) == (9, 8, 9)


def test_askers_at_the_same_time_share_a_page():
    """Concurrent requests share one page; one that is cancelled does not cancel the others."""

    async def scenario(maker, page):
        maker.go_on.clear()
        asking = [asyncio.create_task(page.get()) for _ in range(3)]
        await asyncio.sleep(0)
        asking[0].cancel()
        await asyncio.sleep(0)
        maker.go_on.set()
        return await asyncio.gather(*asking[1:])

    assert run(scenario) == [b"1", b"1"]


def test_a_failure_is_not_kept():
    """After `make` failed, the next request makes another page."""

    async def scenario(maker, page):
        maker.error = Unavailable("no")
        with pytest.raises(Unavailable):
            await page.get()
        maker.error = None
        return await page.get()

    assert run(scenario) == b"2"


def test_a_servers_metrics_are_shared(models_dir, monkeypatch):
    """300 requests in a row for the metrics page make fewer than 300 pages."""
    made = []
    text = MetricsPage.text
    monkeypatch.setattr(MetricsPage, "text", lambda page: made.append(1) or text(page))
    with servers.in_this_process(models_dir) as address:
        http = Http(address)
        for _ in range(300):
            assert http.ask("GET", "/monitoring/prometheus/metrics")[0] == 200

    assert len(made) < 300


@pytest.mark.parametrize(
    ("call", "owner", "name"),
    [
        (("GET", "/v2/models/stats"), version_statistics, "collect"),
        (("POST", "/v2/repository/index"), ModelRepository, "_list_names"),
    ],
)
def test_floods_of_tritons_extensions_are_shared(models_dir, monkeypatch, call, owner, name):
    """Statistics are collected, and the folder of models is listed, less often than asked for."""
    made = []
    original = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *given: made.append(1) or original(*given))
    with servers.in_this_process(models_dir, model_control_mode="explicit") as address:
        http = Http(address)
        for _ in range(300):
            assert http.ask(*call)[0] == 200

    assert 0 < len(made) < 300
