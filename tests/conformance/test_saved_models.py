"""Every SavedModel of the zoo is served by ONNX Runtime or TensorFlow with TensorFlow's answers.

`make conformance` runs all models, which takes minutes; SAVED_MODEL_DOCS=1 writes the table in
docs/saved-models.md.
"""

import os
import shutil

import pytest
from saved_model_zoo import page
from saved_model_zoo.index import MODELS
from saved_model_zoo.run import Result, run


@pytest.fixture(scope="module")
def results() -> list[Result]:
    """Results of the models tested so far."""
    return []


@pytest.mark.conformance
@pytest.mark.parametrize("name", MODELS)
def test_it_answers_as_tensorflow_does(name, tmp_path, results):
    """A model is served in the expected way and answers 1 and 24 callers as TensorFlow does."""
    result = run(MODELS[name], tmp_path)
    shutil.rmtree(tmp_path)  # all models together would fill the disk
    results.append(result)

    assert result.faults == []


@pytest.mark.conformance
def test_most_are_served_by_onnx_runtime(results):
    """At least 40 models were run, at least 30 of them by ONNX Runtime."""
    if len(results) < len(MODELS):
        pytest.skip(f"{len(results)} of {len(MODELS)} models were run")
    if os.environ.get("SAVED_MODEL_DOCS"):
        page.write(results)

    assert len(results) >= 40
    assert sum(result.way == "onnx" for result in results) >= 30


def test_the_page_has_every_model():
    """docs/saved-models.md names for each model what serves it."""
    assert page.rows() == {name: entry.way for name, entry in MODELS.items()}
