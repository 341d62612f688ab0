import fcntl
import json
import os
import signal
import subprocess
import sys

import pytest

from training.__main__ import main
from training.data.cifar10 import load
from training.run import folder, folder_lock
from training.settings.recipes import ConfigError, from_recipe

# Settings added after the first release; the config.json of older runs lacks them.
LATER = ("accumulate_steps", "early_stopping")


@pytest.fixture
def holder(tmp_path):
    """Start a process that holds the folder's lock until it is killed."""
    code = (
        "import pathlib, sys, time\n"
        "from training.run import folder_lock\n"
        "with folder_lock.lock(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_second_training_in_a_folder_is_refused(holder, tmp_path, image_dir, capsys):
    """If another process trains in the folder, the command exits with status 2 and names it."""
    code = main(
        ["simcnn", "--epochs", "1", "--data-dir", str(image_dir), "--run-dir", str(tmp_path)]
    )

    assert code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {tmp_path} is in use by process {holder.pid} on ")
    assert "--run-dir" in error
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_lock_of_a_killed_process_stops_nobody(holder, tmp_path):
    """After SIGKILL the lock file remains, but the folder can be locked."""
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / ".lock").exists()

    with folder_lock.lock(tmp_path):
        assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} on ")

    assert not (tmp_path / ".lock").exists()


def test_lock_is_dropped_when_a_training_fails(tmp_path):
    """An error inside the context releases the lock."""
    with pytest.raises(KeyError), folder_lock.lock(tmp_path / "new"):
        raise KeyError

    with folder_lock.lock(tmp_path / "new"):
        pass


def test_lock_file_removed_by_its_last_holder_is_not_mistaken_for_a_lock(tmp_path, monkeypatch):
    """If the lock file is removed between opening and locking, a new one is locked."""
    real, calls = fcntl.flock, []

    def flock(file, flags):
        if not calls:
            (tmp_path / ".lock").unlink()
        calls.append(flags)
        return real(file, flags)

    monkeypatch.setattr(fcntl, "flock", flock)
    with folder_lock.lock(tmp_path):
        assert (tmp_path / ".lock").exists()
        with pytest.raises(ConfigError, match=r"in use by process"), folder_lock.lock(tmp_path):
            pass
    assert len(calls) == 3


def test_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, caplog):
    """If the file system has no locks, the training continues and logs a warning."""

    def flock(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with folder_lock.lock(tmp_path):
        assert "Function not implemented" in caplog.text


def write_config(run_dir, settings, data):
    run = folder.begin(run_dir, from_recipe("simcnn", "best"), data, {})
    (run_dir / "config.json").write_text(json.dumps({**run, "config": settings}))


@pytest.fixture(scope="module")
def data(image_dir):
    return load(image_dir)


def test_run_of_an_earlier_version_is_resumed(tmp_path, data):
    """Settings missing in config.json count as their defaults and are then written."""
    config = from_recipe("simcnn", "best")
    earlier = {key: value for key, value in config.as_dict().items() if key not in LATER}
    write_config(tmp_path, earlier, data)

    run = folder.begin(tmp_path, config, data, folder.read(tmp_path, config))

    assert run["config"] == config.as_dict()
    assert json.loads((tmp_path / "config.json").read_text()) == {"schema_version": 1, **run}


def test_run_of_an_earlier_version_is_not_resumed_with_a_newer_setting(tmp_path, data):
    """A setting missing in config.json with a value other than its default is refused."""
    config = from_recipe("simcnn", "best", early_stopping=3)
    earlier = {key: value for key, value in config.as_dict().items() if key not in LATER}
    write_config(tmp_path, earlier, data)

    with pytest.raises(ConfigError, match=r"\(early_stopping was 0, is 3\)"):
        folder.read(tmp_path, config)


def test_run_of_a_later_version_is_not_resumed(tmp_path, data):
    """A setting in config.json that this version does not know is refused."""
    config = from_recipe("simcnn", "best")
    write_config(tmp_path, {**config.as_dict(), "dropout": 0.2}, data)

    with pytest.raises(ConfigError, match=r"\(dropout was 0.2, is None\)"):
        folder.read(tmp_path, config)
