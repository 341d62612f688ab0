import json

import numpy as np
import pytest

from loadtest.figures import published_answers
from training.data.cifar10 import Split


@pytest.mark.parametrize("predictions", ["0123", [0, 1, 2, 3]], ids=["digits", "list"])
def test_both_forms_of_predictions_are_read(tmp_path, predictions):
    """A digit for each image, or a list of integers as for more than ten classes."""
    split = Split(images=np.zeros((4, 32, 32, 3), np.uint8), labels=np.arange(4))
    data = {"sha256": split.sha256(), "variant": "npz"}
    variant = {"top1": 1, "n": 4, "predictions": predictions}
    (tmp_path / "own" / "1").mkdir(parents=True)
    (tmp_path / "own" / "1" / "metrics.json").write_text(
        json.dumps({"data": data, "variants": {"fp32": variant}})
    )

    record = published_answers.read(tmp_path, "own", 1, "fp32", split)

    assert record.predictions.tolist() == [0, 1, 2, 3]
