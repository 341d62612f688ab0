"""The examples of Triton's Python client, run unchanged: TRITON_EXAMPLES names their folder."""

import os
from pathlib import Path

import pytest
from triton_examples.examples import EXAMPLES, Lab, client_python

FOLDER = os.environ.get("TRITON_EXAMPLES", "")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not FOLDER,
        reason="TRITON_EXAMPLES does not name src/python/examples of Triton's client",
    ),
    pytest.mark.skipif(
        not client_python().exists(),
        reason="tritonclient's environment is missing; `make tritonclient` makes it",
    ),
]


@pytest.fixture(scope="module", params=["asgi", "grpcio"])
def lab(request, tmp_path_factory) -> Lab:
    """The models and servers of the examples, on each front."""
    folder = tmp_path_factory.mktemp("triton")
    return Lab(Path(FOLDER), folder, client_python(), request.param)


@pytest.mark.parametrize(
    "example", [one for one in EXAMPLES if not one.reason], ids=lambda one: one.name
)
def test_an_example_works_unchanged(lab, example):
    """An example of Triton ends without an error."""
    outcome = lab.run(example)
    if outcome.result == "not run":
        pytest.skip(outcome.detail)

    assert outcome.result == "passed", outcome.detail


def test_every_example_is_listed():
    """Every example in the folder is run, or has a reason why it is not."""
    there = {path.name for path in Path(FOLDER).glob("*.py")}

    assert there == {example.file for example in EXAMPLES}
