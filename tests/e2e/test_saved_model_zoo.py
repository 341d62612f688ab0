"""Some cheap SavedModels of the zoo: `make conformance` runs all of them."""

import pytest
from saved_model_zoo.index import MODELS, QUICK
from saved_model_zoo.run import run


@pytest.mark.parametrize("name", QUICK)
def test_it_answers_as_tensorflow_does(name, tmp_path):
    """For one caller and for 24 at once, served in the way that is expected."""
    assert run(MODELS[name], tmp_path).faults == []
