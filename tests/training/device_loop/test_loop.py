"""The training loop on the device against Keras' own, both with JAX, in one child process."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

# As in pyproject.toml.
WARNINGS = ("-W", "error", "-W", "ignore:__array__ implementation")
CHECKS = Path(__file__).with_name("jax_checks.py")
# The child process compiles two dozen programs.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Return what jax_checks.py measured."""
    file = tmp_path_factory.mktemp("jax") / "results.json"
    process = subprocess.run(
        [sys.executable, *WARNINGS, str(CHECKS), str(file)],
        env={**os.environ, "PYTHONPATH": str(CHECKS.parents[3])},
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(file.read_text())


@pytest.mark.parametrize("variant", ["averaged", "accumulated", "float16"])
def test_losses_and_weights_are_those_of_keras_loop(results, variant):
    """Two epochs give the losses, accuracies and rates of `fit`, and all variables up to rounding.

    The variables include batch statistics, moments, averages, accumulated gradients, loss scale and
    dropout's seed.
    """
    result = results[variant]

    assert len(result["device"]) == 2
    for device, kerass in zip(result["device"], result["keras"], strict=True):
        assert device == pytest.approx(kerass, rel=1e-3, abs=1e-9)
    assert result["difference"] < 1e-3
    assert result["moved"] > 1e-3


def test_float16_scales_the_loss(results):
    """A step that overflows with float16 halves the loss scale, and does not end the training."""
    assert 1 <= results["float16"]["loss_scale"] < 2**15


def test_callbacks_are_called_in_keras_order(results):
    """Training steps come before those of the validation, and both before the end of the epoch."""
    averaged = results["averaged"]

    # The first call measures the speed; the last step has fewer images, so it is another program.
    assert averaged["steps"] == [0, 2, 3, 2, 3]
    assert " ".join(averaged["order"]) == (
        "train train train test test epoch train train test test epoch"
    )


def test_the_number_of_calls_changes_nothing(results):
    """One call of the program for each step gives the weights of few long calls, bit for bit."""
    assert results["single"]["steps"] == [0, 1, 2, 3] * 2
    assert np.array_equal(results["single"]["state"], results["averaged"]["state"])


def test_divergence_names_the_step(results):
    """If the loss is not finite, the error names the step within the call, and the way out."""
    assert re.search(r"loss is (nan|inf) at step [2-5] of epoch 1 .*--learn", results["diverged"])
