"""The Dockerfile's stages and what they copy, and the reasons that a failed `pip install` gives."""

import http.server
import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import certificates
import pytest

ROOT = Path(__file__).parents[2]
STAGE = re.compile(r"^FROM (\S+) AS (\S+)$|^COPY --from=(\S+) ", re.MULTILINE)


def stages() -> dict[str, set[str]]:
    """Return the stages in order, each with the stages that it is made from."""
    found: dict[str, set[str]] = {}
    for base, name, copied in STAGE.findall((ROOT / "Dockerfile").read_text()):
        if name:
            found[name] = {base}
        else:
            found[list(found)[-1]].add(copied)
    return {name: sources & set(found) for name, sources in found.items()}


def ancestors(target: str) -> set[str]:
    """Return the stages that the target is made from, directly or not."""
    sources = stages()[target]
    return sources.union(*(ancestors(source) for source in sources))


@pytest.mark.parametrize(
    ("target", "unneeded"),
    [
        ("serving-cpu", set()),
        ("loadtest", {"serving-cpu", "serving-cpu-venv", "serving-app", "serving"}),
        ("serving-cpu-storage", {"serving-cpu", "loadtest-venv", "loadtest-app", "loadtest"}),
        (
            "serving-cpu-tensorflow",
            {"serving-cpu", "loadtest-venv", "loadtest-app", "loadtest"}
            | {"serving-cpu-storage-venv", "serving-cpu-storage"},
        ),
    ],
)
def test_no_unneeded_stage_stands_before_an_image(target, unneeded):
    """Without BuildKit, Docker builds every stage before the target, so few are unneeded."""
    names = list(stages())

    assert set(names[: names.index(target)]) - ancestors(target) == unneeded


@pytest.mark.parametrize(
    "image", ["serving-cpu", "loadtest", "serving-cpu-storage", "serving-cpu-tensorflow"]
)
def test_the_large_images_come_last(image):
    """No stage of the images with CUDA stands before an image without it."""
    names = list(stages())
    large = (ancestors("serving-gpu") | ancestors("training")) - ancestors(image)

    assert {"serving-gpu-venv", "training-venv", "training-export-venv"} <= large
    assert min(map(names.index, large - ancestors("serving-cpu"))) > names.index(image)


@pytest.mark.parametrize("other", ["serving-cpu-storage", "serving-cpu-tensorflow", "serving-gpu"])
def test_all_servers_have_the_same_settings(other):
    """User, entry point, health check and stop signal are those of the stage `serving`."""
    names = ("USER", "ENTRYPOINT", "HEALTHCHECK", "STOPSIGNAL", "EXPOSE", "WORKDIR", "CMD")
    text = (ROOT / "Dockerfile").read_text()
    stage = text.partition(f" AS {other}\n")[2].partition("\nFROM ")[0]
    labels = set(
        re.findall(r"org\.[a-z.]+", text.partition(" AS serving-cpu\n")[2].split("FROM")[0])
    )

    assert stages()[other] >= {"serving", "serving-app"}
    assert re.findall(rf"^(?:{'|'.join(names)})\b", stage, re.MULTILINE) == []
    assert set(re.findall(r"org\.[a-z.]+", stage)) == labels


def test_every_copied_file_is_in_the_build_context():
    """Each file that an image gets from deploy/ exists, and .dockerignore lets it through."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = re.findall(r"/build/(deploy/[\w./-]+?)/? ", (ROOT / "Dockerfile").read_text())

    assert {"deploy/bin", "deploy/train_and_publish.py"} <= {*copied}
    assert [path for path in copied if not (ROOT / path).exists()] == []
    assert [path for path in copied if f"!{path}" not in ignored] == []


def test_libraries_are_installed_by_their_hashes():
    """Each environment is installed from a file of deploy/requirements, and from nothing else."""
    text = (ROOT / "Dockerfile").read_text()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = re.findall(r"^COPY deploy/requirements/([\w-]+)\.txt", text, re.MULTILINE)
    installs = re.findall(r"--python \S+ install ((?:.*\\\n)*?.*?)-r /opt/builder/(\S+)\.txt", text)

    assert [name for _, name in installs] == copied
    assert all(
        {"--no-deps", "--require-hashes", "--only-binary"} <= {*options.split()}
        for options, _ in installs
    )
    assert text.count("--python /opt/") == len(installs)
    assert {f"{name}.txt" for name in copied} == {
        path.name for path in (ROOT / "deploy/requirements").iterdir()
    }
    assert "!deploy/requirements" in ignored


@pytest.fixture
def pip_install(tmp_path):
    """Return a function that runs the script with this environment's pip.

    The function returns exit code, stdout and stderr.
    """
    shutil.copy(ROOT / "deploy/pip-install.sh", tmp_path)
    pip = tmp_path / "bin" / "pip"
    pip.parent.mkdir()
    pip.write_text(f'#!/bin/sh\nexec {sys.executable} -m pip "$@"\n')
    pip.chmod(0o755)

    def run(*arguments: str) -> tuple[int, str, str]:
        own = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
        done = subprocess.run(
            [tmp_path / "pip-install.sh", "the tools", *arguments],
            env={**own, "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "1", "NO_PROXY": "*"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def strange_index(tmp_path):
    """Start an HTTPS server with an untrusted certificate; yield its address."""
    pair = certificates.Authority(tmp_path / "authority").issue("index")
    (tmp_path / "chain.pem").write_text(pair.certificate + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "chain.pem")
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    server.handle_error = lambda *_: None  # the client ends the handshake
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}/simple"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_foreign_certificate_is_named(pip_install, strange_index):
    """If the index's certificate is not trusted, the last lines name deploy/ca-certificates."""
    code, stdout, stderr = pip_install("install", "--index-url", strange_index, "no-such-package")

    assert code == 1
    assert "No matching distribution" in stdout
    assert "re-signs TLS" in stderr
    assert "deploy/ca-certificates/" in stderr


def test_a_missing_network_is_named(pip_install):
    """If nothing answers, the last lines name the network."""
    code, stdout, stderr = pip_install(
        "install", "--index-url", "http://127.0.0.1:9/simple", "no-such-package"
    )

    assert code == 1
    assert "no-such-package" in stdout
    assert "no network" in stderr


def test_a_missing_wheel_is_named(pip_install, tmp_path):
    """If the index lacks the version, the last lines say so and name BASE_IMAGE."""
    code, stdout, stderr = pip_install(
        "install", "--no-index", "--find-links", str(tmp_path), "no-such-package"
    )

    assert code == 1
    assert "no wheel of these versions" in stderr
    assert "BASE_IMAGE" in stderr
    assert stdout.startswith("Installing the tools\n")


def test_a_success_adds_one_line(pip_install):
    """A successful run prints what it installs, and then only what pip prints."""
    code, stdout, stderr = pip_install("--version")

    assert (code, stderr) == (0, "")
    assert stdout.splitlines()[0] == "Installing the tools"
    assert stdout.splitlines()[1].startswith("pip ")
