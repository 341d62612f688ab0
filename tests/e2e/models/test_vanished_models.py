"""Folders of models that vanish or become unreadable while a real server polls them."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from running import servers
from sample_models import tiny_models

from serving.client import PredictClient
from serving.engine.catalog import State

POLL_SECONDS = 0.05
POLLS = 20
ONES = np.ones((1, 3), np.float32)
# Root reads every folder. Without these capabilities it reads only what the permissions allow.
AS_ANY_USER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def start(*flags: str):
    """Start a server that folders' permissions bind, also if the test's user is root."""
    prefix = AS_ANY_USER if os.geteuid() == 0 else []
    if prefix and shutil.which(prefix[0]) is None:
        pytest.skip("root reads every folder, and there is no setpriv to change that")
    process = subprocess.Popen(
        [
            *(*prefix, sys.executable, "-m", "serving", "--host=127.0.0.1", "--port=0"),
            *(f"--file_system_poll_wait_seconds={POLL_SECONDS}", *flags),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    return servers.followed(process)


def remove(folder: Path, kept: Path) -> None:
    folder.rename(kept)


def empty(folder: Path, kept: Path) -> None:
    folder.rename(kept)
    folder.mkdir()


def lock(folder: Path, _kept: Path) -> None:
    folder.chmod(0o000)


def replace_by_a_file(folder: Path, kept: Path) -> None:
    folder.rename(kept)
    folder.write_text("not a folder")


def replace_by_a_dangling_link(folder: Path, kept: Path) -> None:
    folder.rename(kept)
    folder.symlink_to(folder.parent / "nowhere")


def replace_by_a_loop(folder: Path, kept: Path) -> None:
    folder.rename(kept)
    folder.symlink_to(folder)


def bend_into_a_loop(link: Path, kept: Path) -> None:
    """Make a link to a folder a link to itself, in one step, so that it is never missing."""
    kept.symlink_to(link.readlink())
    bent = link.parent.parent / "bent"
    bent.symlink_to(link)
    bent.replace(link)


def restore(folder: Path, kept: Path) -> None:
    """Undo any of the changes above."""
    if not kept.exists():
        folder.chmod(0o755)
        return
    if kept.is_symlink():
        pass  # it replaces the other link
    elif folder.is_dir() and not folder.is_symlink():
        folder.rmdir()
    else:
        folder.unlink(missing_ok=True)
    kept.replace(folder)


CHANGES = [
    remove,
    empty,
    lock,
    replace_by_a_file,
    replace_by_a_dangling_link,
    replace_by_a_loop,
]


def versions_after(
    server: servers.ServerProcess,
    models: Path,
    folder: Path,
    change: Callable[[Path, Path], None],
    complaint: str,
) -> tuple[list[int], list[str]]:
    """Change a folder for many polls, undo it, and add a version.

    Returns:
        The version that answered before the change, during it, and at the end; and the lines that
        the server logged meanwhile, without those about loading and unloading.
    """
    target = server.wait_for(r"listening on (\S+), ").group(1)
    server.wait_for("ready: ")
    kept, versions = models.parent / "kept", []
    with PredictClient(target, timeout=10) as client:

        def answering() -> int:
            assert client.predict("identity", {"x": ONES})["y"].tolist() == [[1, 1, 1]]
            return max(
                status.version
                for status in client.statuses("identity")
                if status.state == State.AVAILABLE
            )

        versions.append(answering())
        begin = len(server.log)
        change(folder, kept)
        server.wait_for(complaint)
        time.sleep(POLLS * POLL_SECONDS)
        versions.append(answering())
        logged = server.log[begin:]
        restore(folder, kept)
        tiny_models.identity(models, version=2)
        server.wait_for("unloaded identity/1")
        versions.append(answering())
    return versions, logged


def assert_said_once(logged: list[str]) -> None:
    """A poll that was under way may have had a line of its own; no line is repeated."""
    messages = [line.partition(": ")[2] for line in logged]
    assert 1 <= len(messages) <= 2, "".join(logged)
    assert len(set(messages)) == len(messages)


@pytest.mark.parametrize("change", CHANGES)
def test_a_models_folder_that_is_gone_for_a_while_changes_nothing(tmp_path, change):
    """Whatever happens to `--models_dir`: what is loaded answers, and the log has one line."""
    models = tmp_path / "models"
    tiny_models.identity(models)
    with start(f"--models_dir={models}") as server:
        versions, logged = versions_after(
            server, models, models, change, "models stay as they are: "
        )
        code = server.terminate()

    assert versions == [1, 1, 2]
    assert_said_once(logged)
    assert "Traceback" not in "".join(server.log)
    assert code == 0


@pytest.mark.parametrize("change", [remove, lock, replace_by_a_file])
def test_a_listed_model_whose_folder_is_gone_for_a_while_goes_on(tmp_path, change):
    """Whatever happens to the folder of a model of a list: its version answers on."""
    models = tmp_path / "models"
    tiny_models.identity(models)
    folder = models / "identity"
    flags = (f"--model_base_path={folder}", "--model_name=identity")
    with start(*flags) as server:
        versions, logged = versions_after(server, models, folder, change, "; what is loaded stays")
        code = server.terminate()

    assert versions == [1, 1, 2]
    assert_said_once(logged)
    assert f"{folder}" in logged[0]
    assert "Traceback" not in "".join(server.log)
    assert code == 0


@pytest.mark.parametrize("change", [lock, bend_into_a_loop])
def test_a_found_model_whose_folder_cannot_be_read_goes_on(tmp_path, change):
    """A folder in `--models_dir` that can no longer be read is no removed model."""
    models = tmp_path / "models"
    tiny_models.identity(models)
    tiny_models.add(models)
    if change is bend_into_a_loop:
        (models / "identity").rename(tmp_path / "real")
        (models / "identity").symlink_to(tmp_path / "real")
    with start(f"--models_dir={models}") as server:
        versions, logged = versions_after(
            server, models, models / "identity", change, "; what is loaded stays"
        )
        code = server.terminate()

    assert versions == [1, 1, 2]
    assert sum("what is loaded stays" in line for line in logged) == 1
    assert_said_once(logged)
    assert code == 0


def test_a_version_that_cannot_be_read_is_one_line(tmp_path):
    """A new version that may not be read: the old one answers on, until that is mended."""
    models = tmp_path / "models"
    tiny_models.identity(models)
    with start(f"--models_dir={models}") as server:
        target = server.wait_for(r"listening on (\S+), ").group(1)
        server.wait_for("ready: ")
        begin = len(server.log)
        hidden = tiny_models.identity(tmp_path / "new", version=2)
        hidden.chmod(0o000)
        hidden.rename(models / "identity" / "2")
        server.wait_for(r"identity/2 is not served: .*Permission denied")
        time.sleep(POLLS * POLL_SECONDS)
        logged = server.log[begin:]
        with PredictClient(target, timeout=10) as client:
            answer = client.predict("identity", {"x": ONES})["y"].tolist()
        (models / "identity" / "2").chmod(0o755)
        server.wait_for("unloaded identity/1")
        code = server.terminate()

    assert answer == [[1, 1, 1]]
    assert len(logged) == 1, "".join(logged)
    assert code == 0


def test_folders_that_come_and_go_leave_no_traceback(tmp_path):
    """Versions that vanish at any moment of a poll or a load are lines of the log."""
    models = tmp_path / "models"
    tiny_models.identity(models, "stays")
    with start(f"--models_dir={models}") as server:
        target = server.wait_for(r"listening on (\S+), ").group(1)
        server.wait_for("ready: stays")
        for number in range(150):
            tiny_models.identity(models, f"comes-{number % 3}")
            time.sleep(0.02 * (number % 5))
            shutil.rmtree(models / f"comes-{number % 3}")
        with PredictClient(target, timeout=10) as client:
            answer = client.predict("stays", {"x": ONES})["y"].tolist()
        code = server.terminate()

    log = "".join(server.log)
    assert answer == [[1, 1, 1]]
    assert re.search("loaded comes-", log)
    assert "Traceback" not in log
    assert code == 0
