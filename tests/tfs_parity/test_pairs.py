"""This server answers as TensorFlow Serving does, request by request."""

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
    """Clients of the servers."""
    with peers(tmp_path_factory.mktemp("tfs_parity")) as started:
        yield started


@pytest.mark.parametrize("pair", suite.PAIRS, ids=lambda pair: pair.id)
def test_the_answer_is_that_of_tensorflow_serving(pair: Pair, clients: Peers):
    """Its code, its message and its content; where it deviates, what docs/parity.md says of it."""
    assert mistakes(pair, clients.of(pair.server)) == []


def test_no_two_pairs_ask_the_same():
    """Each pair has a name of its own, and a request that no other has for the same source."""
    names = Counter(pair.id for pair in suite.PAIRS)
    asked = Counter(
        repr((pair.source, pair.test, pair.server, pair.before, pair.refused_before, pair.request))
        for pair in suite.PAIRS
    )

    assert [name for name, count in names.items() if count > 1] == []
    assert [request for request, count in asked.items() if count > 1] == []


def test_every_area_has_its_share():
    """At least 250 pairs, and as many of each area as it promises; every source is in one area."""
    sources = {source for _, files in suite.AREAS.values() for source in files}
    counts = suite.counts()

    assert len(suite.PAIRS) >= 250
    assert {area: n for area, n in counts.items() if n < suite.AREAS[area][0]} == {}
    assert {pair.source for pair in suite.PAIRS} <= sources
    assert sum(counts.values()) == len(suite.PAIRS)


def test_the_page_lists_the_deviations():
    """docs/parity.md says how many pairs there are, and where an answer is another on purpose."""
    if os.environ.get("PARITY_DOCS"):
        suite.write_page()
    page = Path(suite.PAGE).read_text()

    assert page.partition(suite.BEGIN)[2].partition(suite.END)[0].strip() == suite.table()
