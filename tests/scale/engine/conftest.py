"""Images of the server and of Envoy for the tests that run replicas in containers."""

import shutil

import pytest
from running import containers
from scale.balancers import ENVOY, MISSING_ENVOY

SERVER_IMAGE = "onnx-serving:test-scale"
ENVOY_IMAGE = "onnx-serving:test-envoy"


@pytest.fixture(scope="session")
def base_image() -> str:
    """The base image of the built images."""
    containers.require_engine()
    return containers.base_image()


@pytest.fixture(scope="session")
def server_image(base_image: str) -> str:
    """The server's image."""
    return containers.build("serving-cpu", SERVER_IMAGE, base_image)


@pytest.fixture(scope="session")
def envoy_image(base_image: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with Envoy, whose own image cannot be pulled on every machine."""
    if not ENVOY.exists():
        pytest.skip(MISSING_ENVOY)
    # The command is a script of Python, which the image lacks; the package has the binary.
    (binary,) = ENVOY.parents[1].glob("lib/python*/site-packages/envoy/_bin/envoy")
    folder = tmp_path_factory.mktemp("envoy")
    shutil.copyfile(binary, folder / "envoy")
    (folder / "Dockerfile").write_text(
        f"FROM {base_image}\nCOPY envoy /usr/local/bin/envoy\nRUN chmod 755 /usr/local/bin/envoy\n"
    )
    containers.run("docker", "build", f"--tag={ENVOY_IMAGE}", folder, timeout_seconds=600)
    return ENVOY_IMAGE
