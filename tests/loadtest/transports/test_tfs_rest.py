import json

import pytest

from loadtest.transports import tfs_rest


@pytest.mark.parametrize(
    ("predictions", "classes"),
    [
        pytest.param([{"classes": 3, "probabilities": [0.1, 0.9]}], [3], id="named"),
        pytest.param([[0.1, 0.2, 0.7]], [2], id="one-output-of-scores"),
        pytest.param([4], [4], id="one-output-of-classes"),
        pytest.param([{"output_0": [0.9, 0.1]}], [0], id="scores-by-name"),
    ],
)
def test_rest_answers_in_rows_are_read(predictions, classes):
    """Rows are read with and without output names; a single output is not named."""
    response = json.dumps({"predictions": predictions}).encode()

    assert tfs_rest.TfsRest("m", None).parse(response, 1).classes.tolist() == classes
