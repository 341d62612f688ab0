import numpy as np
import pytest
import tensorflow as tf

from export.sources import saved_model
from export.sources.session_process import ProcessEndedError, SessionProcess

X = np.arange(8, dtype=np.float32).reshape(2, 4)


def test_answers_and_refusals_come_back(two_signatures):
    """A session in another process returns TensorFlow's answers and raises its errors."""
    signature = saved_model.read_signatures(two_signatures)["sum/up"]
    with SessionProcess(two_signatures) as process:
        with pytest.raises(tf.errors.InvalidArgumentError, match="reduction dimension"):
            process.ask(signature, {"x": X[0]})
        answer = process.ask(signature, {"x": X})

    assert answer["total"].tolist() == [6, 22]


def test_a_process_that_ends_is_started_again(two_signatures):
    """If the process ends, the call raises ProcessEndedError and the next call is answered."""
    signature = saved_model.read_signatures(two_signatures)["sum/up"]
    with SessionProcess(two_signatures) as process:
        process.ask(signature, {"x": X})
        process._process.kill()
        with pytest.raises(ProcessEndedError):
            process.ask(signature, {"x": X})
        answer = process.ask(signature, {"x": X})

    assert answer["total"].tolist() == [6, 22]
