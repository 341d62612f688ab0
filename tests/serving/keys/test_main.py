import json
import os
import re
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving.access import keys_file
from serving.access.keys_editor import digest_of, new_key


@pytest.fixture
def path(tmp_path) -> Path:
    """Return the path of a keys file that does not exist yet."""
    return tmp_path / "keys.json"


def run(*arguments, **environment):
    """Run the command; return exit code, standard output and standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "serving.keys", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_new_key_is_printed_once_and_stored_as_a_digest(path):
    """The key goes to standard output only; the file has its SHA-256, and mode 600."""
    flags = ["--role", "predict", "--role", "metadata", "--model", "m", "--model", "n"]
    limits = ["--rate", "5", "--burst", "7", "--in-flight", "2", "--expires", "2027-01-31"]
    code, key, told = run("new", "web", *flags, *limits, "--file", path)
    key = key.strip()

    assert code == 0, told
    assert re.fullmatch(r"onnxsk_[\w-]{43}", key)
    assert key not in told + path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()) == {
        "schema_version": 1,
        "callers": [
            {
                "name": "web",
                "sha256": digest_of(key),
                "roles": ["predict", "metadata"],
                "models": ["m", "n"],
                "requests_per_second": 5.0,
                "burst": 7.0,
                "in_flight": 2,
                "expires": "2027-01-31",
            }
        ],
    }
    assert keys_file.parse(path.read_text())[0].digest.hex() == digest_of(key)


def test_keys_differ():
    """No two keys are equal."""
    assert len({new_key() for _ in range(1000)}) == 1000


def test_entries_are_listed_and_revoked(path):
    """`list` shows every entry without its digest, and `revoke` removes one; others stay."""
    run("new", "web", "-r", "predict", "--in-flight", "2", "--file", path)
    run("new", "prometheus", "-r", "metrics", "--subject", "CN=prometheus", "--file", path)
    _, both, _ = run("list", SERVING_API_KEYS_FILE=str(path))
    revoked, _, told = run("revoke", "web", "--file", path)
    _, one, _ = run("list", "--file", path)

    assert [line.split() for line in both.splitlines()] == [
        ["web", "key", "predict", "all", "models", "2", "in", "flight"],
        ["prometheus", "certificate", "metrics", "all", "models", "no", "limits"],
    ]
    assert (revoked, told) == (0, f"{path}: revoked web\n")
    assert [line.split()[0] for line in one.splitlines()] == ["prometheus"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["new", "a b", "--role", "predict"], "name is 'a b'"),
        (["new", "a", "--role", "predict", "--rate", "0"], "expected a number above 0"),
        (["new", "a", "--role", "predict", "--burst", "2"], "--burst given without --rate"),
        (["new", "a", "--role", "predict", "--expires", "soon"], "expires is 'soon'"),
        (["new", "a", "--role", "predict", "--subject", "a"], "RFC 4514"),
        (["new", "known", "--role", "predict"], "name is also that of entry 'known'"),
        (["revoke", "b"], "has no entry 'b'; it has known"),
    ],
)
def test_a_mistake_changes_nothing(path, arguments, message):
    """A mistake is one line and exit code 2; no key is printed, and the file stays as it was."""
    run("new", "known", "--role", "predict", "--file", path)
    before = path.read_bytes()
    code, printed, told = run(*arguments, "--file", path)

    assert (code, printed, told.count("\n")) == (2, "", 1)
    assert message in told
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_broken_file_is_not_overwritten(path):
    """The command refuses to add an entry to a file that is no keys file."""
    path.write_text("{")
    code, _, told = run("new", "a", "--role", "predict", "--file", path)

    assert code == 2
    assert "is not JSON" in told
    assert path.read_text() == "{"


def test_a_link_stays_a_link(path, tmp_path):
    """If the path is a link, the file that it points to is changed."""
    (tmp_path / "real").mkdir()
    path.symlink_to(tmp_path / "real" / "keys.json")
    code, _, told = run("new", "a", "--role", "predict", "--file", path)

    assert code == 0, told
    assert path.is_symlink()
    assert len(json.loads(path.read_text())["callers"]) == 1


def test_commands_at_the_same_time_lose_no_entry(path):
    """Several commands at once add all their entries."""
    with ThreadPoolExecutor(4) as pool:
        names = [f"caller{number}" for number in range(8)]
        done = list(
            pool.map(lambda name: run("new", name, "--role", "predict", "--file", path), names)
        )

    assert [code for code, _, _ in done] == [0] * 8
    assert {entry.name for entry in keys_file.parse(path.read_text())} == set(names)
