"""Tests that this server answers each request as TensorFlow Serving does."""

import os
from collections import Counter
from pathlib import Path

import pytest
from tfs_parity import suite
from tfs_parity.exchange import mistakes
from tfs_parity.pair import Pair
from tfs_parity.served import Peers, peers


@pytest.fixture(scope="module")
def clients(tmp_path_factory):
    """Clients of the servers that the pairs are sent to."""
    with peers(tmp_path_factory.mktemp("tfs_parity")) as started:
        yield started


@pytest.mark.parametrize("pair", suite.PAIRS, ids=lambda pair: pair.id)
def test_the_answer_is_that_of_tensorflow_serving(pair: Pair, clients: Peers):
    """Code, message and content are TensorFlow Serving's, or those of the pair's deviation."""
    assert mistakes(pair, clients.of(pair.server)) == []


def test_no_two_pairs_ask_the_same():
    """Each pair has its own name and, for its source, its own request."""
    names = Counter(pair.id for pair in suite.PAIRS)
    asked = Counter(
        repr((pair.source, pair.test, pair.server, pair.before, pair.refused_before, pair.request))
        for pair in suite.PAIRS
    )

    assert [name for name, count in names.items() if count > 1] == []
    assert [request for request, count in asked.items() if count > 1] == []


def test_every_area_has_its_share():
    """There are at least 250 pairs, each area has its least number, each source is in one area."""
    sources = {source for _, files in suite.AREAS.values() for source in files}
    counts = suite.counts()

    assert len(suite.PAIRS) >= 250
    assert {area: n for area, n in counts.items() if n < suite.AREAS[area][0]} == {}
    assert {pair.source for pair in suite.PAIRS} <= sources
    assert sum(counts.values()) == len(suite.PAIRS)


def test_the_page_lists_the_deviations():
    """docs/parity.md has the number of pairs and every deviation."""
    if os.environ.get("PARITY_DOCS"):
        suite.write_page()
    page = Path(suite.PAGE).read_text()

    assert page.partition(suite.BEGIN)[2].partition(suite.END)[0].strip() == suite.table()
