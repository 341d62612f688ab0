"""Questions to the SavedModels of TensorFlow Serving's users, and the comparison of answers."""

import numpy as np
from sample_saved_models import tensorflow_models

CALLERS = 24
EXAMPLES = [
    tensorflow_models.example([1.0, 2.0], b"m"),
    tensorflow_models.example([-0.5, 0.25]),
]

# Inputs of each model; TensorFlow answers the same inputs.
QUESTIONS = {
    "lookup": {"words": np.array([b"kg", b"s", b"", "größe".encode()], object)},
    "text_classifier": {"text": np.array([[b"a good film"], [b"the END is bad"]], object)},
    "lengths": {"texts": np.array([b"one", b"and two more", b"a b"], object)},
    "scaled": {"x": np.float32([[1, 2, 3], [-1, 0.5, 1e6]]), "offset": np.float32(0.25)},
    "dense": {"x": np.float32([[1, 2, 3, 4], [0, 0, 0, 0], [-1, 5, 2, 0.1]])},
    "convolution": {"x": np.linspace(-1, 1, 96, dtype=np.float32).reshape(2, 4, 4, 3)},
}


def assert_same(received, wanted):
    assert received.keys() == wanted.keys()
    for alias, array in wanted.items():
        assert received[alias].shape == array.shape
        if array.dtype.kind == "O":
            assert received[alias].tolist() == array.tolist()
        else:
            np.testing.assert_allclose(received[alias], array, rtol=1e-6, atol=1e-7)
