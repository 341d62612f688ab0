"""Fixtures of the tests of TensorFlow Serving's API: a server of models that take tf.Examples."""

import pytest
from calling.rest_client import Http
from sample_models import example_models


@pytest.fixture(scope="module")
def address(tmp_path_factory, running_server):
    """Address of a server with models that take tf.Examples."""
    models_dir = tmp_path_factory.mktemp("models")
    example_models.pictures(models_dir)
    example_models.numbers(models_dir)
    with running_server(models_dir) as target:
        yield target


@pytest.fixture
def rest(address) -> Http:
    return Http(address)
