"""Some quick SavedModels of the zoo; `make conformance` runs all of them."""

import pytest
from saved_model_zoo.index import MODELS, QUICK
from saved_model_zoo.run import run


@pytest.mark.parametrize("name", QUICK)
def test_a_saved_model_answers_as_tensorflow_does(name, tmp_path):
    """The model answers 1 and 24 callers as TensorFlow does, and is served in the expected way."""
    assert run(MODELS[name], tmp_path).faults == []
