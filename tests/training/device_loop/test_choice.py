import pytest

from training.device_loop import choice
from training.settings.recipes import ConfigError, from_recipe


@pytest.fixture
def machine(monkeypatch):
    """Return a function that sets backend and GPUs of the machine."""

    def set_machine(backend, gpus):
        monkeypatch.setattr(choice.keras.backend, "backend", lambda: backend)
        monkeypatch.setattr(choice.environment, "gpu_names", lambda: ["GPU"] * gpus)

    return set_machine


@pytest.mark.parametrize(
    ("setting", "machine_has", "devices", "used"),
    [
        ("auto", ("jax", 1), 1, True),
        ("auto", ("jax", 0), 1, False),
        ("auto", ("jax", 2), 2, False),
        ("auto", ("tensorflow", 1), 1, False),
        ("on", ("jax", 0), 1, True),
        ("off", ("jax", 1), 1, False),
    ],
)
def test_auto_is_for_jax_on_one_gpu(machine, setting, machine_has, devices, used):
    """The loop on the device is used with JAX on one GPU, or where the setting demands it."""
    machine(*machine_has)
    config = from_recipe("simcnn", "best", device_epochs=setting)

    assert choice.use_device_loop(config, devices) is used


def test_without_compilation_there_is_no_loop_on_the_device(machine):
    """With jit off, auto chooses Keras' loop."""
    machine("jax", 1)

    assert not choice.use_device_loop(from_recipe("simcnn", "best", xla="off"), 1)


@pytest.mark.parametrize(
    ("backend", "devices", "changes", "message"),
    [
        ("tensorflow", 1, {}, r"tensorflow backend, expected jax: set KERAS_BACKEND=jax"),
        ("jax", 2, {}, r"with 2 devices, expected one: leave --devices out"),
        ("jax", 1, {"randaugment": 2}, r"with randaugment 2, whose .*: leave --randaugment out"),
        ("jax", 1, {"xla": "off"}, r"with jit off, .*: leave --jit out"),
    ],
)
def test_what_cannot_be_is_refused_in_words(machine, backend, devices, changes, message):
    """`on` with another backend, several devices or without compilation names the way out."""
    machine(backend, 1)
    config = from_recipe("simcnn", "best", device_epochs="on", **changes)

    with pytest.raises(ConfigError, match=message):
        choice.use_device_loop(config, devices)
