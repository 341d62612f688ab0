"""Tests that updates of the stack of deploy/swarm lose no call, on the Docker engine here."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from running import containers
from sample_models import tiny_models
from scale.engine.stack import FOLDER, STACK, Stack, swarm
from scale.steady_calls import Outcomes, calling

pytestmark = [pytest.mark.scale, pytest.mark.timeout(900)]

RATE = 100
REPLICAS = 2
IMAGES = "onnx-serving:test-swarm"


@pytest.fixture(scope="module")
def model_image(server_image, tmp_path_factory):
    """A function that builds an image with the given versions of `identity`."""
    built = []

    def build(name: str, *versions: int, broken: bool = False) -> str:
        models = tmp_path_factory.mktemp("models")
        for version in versions:
            file = tiny_models.identity(models, version=version) / "model.onnx"
            if broken:
                file.write_bytes(b"not a model")
        built.append(f"{IMAGES}-{name}")
        containers.run(
            *("docker", "build", f"--file={FOLDER / 'models.Dockerfile'}", f"--tag={built[-1]}"),
            # The label makes images differ that have the same models.
            *(f"--label=name={name}", f"--build-arg=SERVING_IMAGE={server_image}", models),
            timeout_seconds=300,
        )
        return built[-1]

    yield build
    for image in built:
        containers.run("docker", "image", "rm", "--force", image)


@pytest.fixture(scope="module")
def stack(envoy_image, model_image) -> Iterator[Stack]:
    """The stack with version 1 of the model in its image."""
    with swarm():
        running = Stack(envoy_image, REPLICAS)
        try:
            running.deploy(model_image("first", 1))
            running.wait_until_running()
            yield running
        finally:
            running.remove()


@contextmanager
def load(stack: Stack, what: str) -> Iterator[Outcomes]:
    """Call the stack during the block and some seconds before and after."""
    with calling(stack.address, rate=RATE) as outcomes:
        time.sleep(3)
        yield outcomes
        time.sleep(3)
    print(f"{what}: {outcomes}")  # noqa: T201 - the figures of the test
    print(stack.tasks())  # noqa: T201


def test_a_new_image_loses_no_call(stack, model_image):
    """Swarm replaces both replicas by those of a new image; every call is answered, and rightly."""
    image = model_image("second", 1)
    with load(stack, "a new image") as outcomes:
        stack.deploy(image)
        stack.wait_for_update("completed")

    assert stack.tasks().count(f"{image} ") >= REPLICAS
    assert outcomes.lost == {}
    assert outcomes.wrong == 0


def test_a_new_version_in_an_image_loses_no_call(stack, model_image):
    """An image with version 2 beside version 1: callers get version 1, then 2, and no error."""
    image = model_image("third", 1, 2)
    with load(stack, "a new version in an image") as outcomes:
        stack.deploy(image)
        stack.wait_for_update("completed")

    assert outcomes.lost == {}
    assert outcomes.wrong == 0
    assert set(outcomes.versions) == {1, 2}


def test_a_broken_model_is_rolled_back_and_loses_no_call(stack, model_image):
    """A replica without a loaded version never becomes healthy; the others stay as they are."""
    image = model_image("broken", 7, broken=True)
    with load(stack, "a broken model") as outcomes:
        stack.deploy(image)
        stack.wait_for_update("rollback_completed")

    assert f"{image} " in stack.tasks()
    assert outcomes.lost == {}
    assert outcomes.wrong == 0
    assert 7 not in outcomes.versions


def test_a_new_version_in_a_folder_loses_no_call(stack, server_image, tmp_path):
    """After an update to models of a folder, both replicas load a version that appears there."""
    tiny_models.identity(tmp_path / "models", version=1)
    new = tiny_models.identity(tmp_path / "new", version=3)
    with load(stack, "a new version in a folder") as outcomes:
        stack.deploy(server_image, tmp_path / "models")
        stack.wait_for_update("completed")
        new.rename(tmp_path / "models" / "identity" / "3")
        time.sleep(5)
        before = outcomes.versions.copy()
        time.sleep(5)
        after = outcomes.versions - before

    assert outcomes.lost == {}
    assert outcomes.wrong == 0
    assert set(after) == {3}


def test_a_killed_replica_loses_no_call(stack):
    """A replica is killed; Envoy sends its calls again, and Swarm starts another one."""
    with load(stack, "a killed replica") as outcomes:
        task = f"--filter=label=com.docker.swarm.service.name={STACK}_serving"
        listed = containers.run("docker", "ps", "--quiet", task).stdout.split()
        containers.run("docker", "kill", listed[0])
        time.sleep(3)
        stack.wait_until_running()

    assert len(listed) == REPLICAS
    assert outcomes.lost == {}
    assert outcomes.wrong == 0
