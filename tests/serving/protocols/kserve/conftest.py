"""Fixtures of the tests of KServe's API: its two kinds of client."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from calling.kserve_connection import Connection
from running.kserve_stub import Stub
from sample_models import tiny_models


@pytest.fixture
def connection(target) -> Iterator[Connection]:
    opened = Connection(target)
    yield opened
    opened.close()


@pytest.fixture
def stub(target) -> Iterator[Stub]:
    with grpc.insecure_channel(target) as channel:
        yield Stub(channel)


@pytest.fixture
def own_models(tmp_path) -> Path:
    """A folder with the models identity and add, which the test may change."""
    models = tmp_path / "models"
    tiny_models.identity(models)
    tiny_models.add(models)
    return models
