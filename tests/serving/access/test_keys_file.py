import asyncio
import json
import logging

import keys_files
import pytest
from keys_files import entry

from serving.access import keys_file
from serving.access.keys_file import KeysFile
from serving.access.roles import Role
from serving.access.usage import RateLimits
from serving.errors import ConfigError


def parse(*entries):
    return keys_file.parse(json.dumps({"callers": entries}))


def test_an_entry_has_roles_models_limits_and_an_end():
    """Every field of an entry is read; a date is the beginning of that day in UTC."""
    fields = {"requests_per_second": 5, "burst": 7.5, "in_flight": 2, "expires": "2027-01-31"}
    (read,) = parse(entry("a", "predict", "metadata", models=["m", "n"], **fields))

    assert read.name == "a"
    assert read.digest == bytes.fromhex(entry("a", "predict")["sha256"])
    assert read.subject is None
    assert read.roles == {Role.PREDICT, Role.METADATA}
    assert read.models == {"m", "n"}
    assert read.limits == RateLimits(requests_per_second=5, burst=7.5, in_flight=2)
    assert read.expires == 1_801_353_600


def test_an_entry_without_optional_fields_has_no_limits():
    """Without the optional fields, a caller may use all models, without limits and for ever."""
    (read,) = parse(entry("a", "predict"))

    assert (read.models, read.limits, read.expires) == (None, RateLimits(), None)


@pytest.mark.parametrize(
    ("text", "offset"), [("2027-01-31T12:00:00+02:00", 36_000), ("2027-01-31T12:00Z", 43_200)]
)
def test_a_time_may_have_an_offset(text, offset):
    """The end of an entry may be a time with an offset from UTC."""
    assert keys_file.point_in_time(text) == 1_801_353_600 + offset


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["a"], "it is 'a', expected an object"),
        ([entry("a", "predict", rol=1)], "field 'rol' is unknown"),
        ([{"name": "a", "roles": ["predict"]}], 'either "sha256"'),
        ([entry("a", "predict", subject="CN=a") | {"sha256": "0" * 64}], 'either "sha256"'),
        ([entry("a", "predict") | {"sha256": "0" * 63}], "64 hexadecimal digits"),
        ([entry("a", "predict") | {"sha256": 7}], "64 hexadecimal digits"),
        ([entry("a", "predict", subject="a")], "RFC 4514"),
        ([entry("", "predict")], "name is ''"),
        ([entry("anonymous", "predict")], "name is 'anonymous'"),
        ([entry("a b", "predict")], "name is 'a b'"),
        ([entry("a" * 65, "predict")], "name is"),
        ([entry("a")], "roles is empty"),
        ([entry("a", "root")], "role 'root' is unknown"),
        ([entry("a", "health")], "role 'health' is unknown"),
        ([entry("a", "predict") | {"roles": "predict"}], "roles is 'predict', expected a list"),
        ([entry("a", "predict", models="m")], "models is 'm', expected a list"),
        ([entry("a", "predict", models=[""])], "expected a list of names"),
        ([entry("a", "predict", requests_per_second=0)], "expected a number above 0"),
        ([entry("a", "predict", requests_per_second=True)], "requests_per_second is True"),
        ([entry("a", "predict", requests_per_second="5")], "requests_per_second is '5'"),
        ([entry("a", "predict", burst=5)], "burst is given without requests_per_second"),
        (
            [entry("a", "predict", requests_per_second=1, burst=0.5)],
            "expected a number of at least 1",
        ),
        ([entry("a", "predict", in_flight=1.5)], "expected a whole number"),
        ([entry("a", "predict", expires="tomorrow")], "expires is 'tomorrow'"),
        ([entry("a", "predict", expires=7)], "expires is 7"),
        ([entry("a", "predict"), entry("a", "admin")], "name is also that of entry 'a'"),
        (
            [entry("a", "predict"), entry("a", "predict") | {"name": "b"}],
            "sha256 is also that of entry 'a'",
        ),
        (
            [entry("a", "predict", subject="CN=x"), entry("b", "predict", subject="cn=x")],
            "subject is also that of entry 'a'",
        ),
    ],
)
def test_a_wrong_entry_is_refused(entries, message):
    """The message about a wrong entry has its number, and says what was expected."""
    with pytest.raises(ConfigError, match=f"entry {len(entries)}") as refused:
        parse(*entries)

    assert message in str(refused.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"callers": 1}', '{"keys": []}', '"callers"'])
def test_another_document_is_refused(text):
    """A file that is not an object with a list of callers is refused with its name."""
    with pytest.raises(ConfigError, match=r"keys\.json (is|has)"):
        keys_file.parse(text, "keys.json")


@pytest.fixture
def path(tmp_path):
    return keys_files.write(tmp_path / "keys.json", entry("a", "predict"))


def looks(file, count=1):
    """Check the file; return the texts that were applied."""
    applied = []

    async def apply(text):
        applied.append(text)

    async def look():
        for _ in range(count):
            await file.look(apply)

    asyncio.run(look())
    return applied


def test_a_changed_file_is_applied_once(path, caplog):
    """A changed file is applied at the next check, and the audit log says what has changed."""
    caplog.set_level(logging.INFO, "serving.audit")
    file = KeysFile(path)
    before = looks(file)
    keys_files.write(path, entry("a", "predict", "metadata"), entry("b", "admin"))

    applied = looks(file, 2)

    assert before == []
    assert applied == [path.read_text()]
    assert caplog.messages == [f"keys changed by file {path}: added b; changed a"]
    assert file.failures == 0


@pytest.mark.parametrize("broken", ["{", None, '{"schema_version": 2, "callers": []}'])
def test_a_broken_file_keeps_the_old_keys(path, caplog, broken):
    """A broken or missing file keeps the old keys; one error is logged, and each check counts."""
    file = KeysFile(path)
    text = path.read_text()
    path.unlink() if broken is None else path.write_text(broken)

    applied = looks(file, 3)
    path.write_text(text)
    applied += looks(file)

    assert applied == []
    assert file.text == text
    assert file.failures == 3
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "the keys read before stay valid" in caplog.text


@pytest.mark.parametrize("content", [None, b"\xff", b"{"])
def test_a_broken_file_stops_the_start(tmp_path, content):
    """At the start, a missing or broken file is an error that names the file."""
    path = tmp_path / "keys.json"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError, match=str(path)):
        KeysFile(path)
