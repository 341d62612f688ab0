import argparse

import certificates
import pytest

from loadtest.settings.config import PLAIN, ConnectionConfig, UsageError
from loadtest.settings.connection_flags import add_flags, as_flags, connection


def parse(*flags: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_flags(parser.add_argument)
    return parser.parse_args([str(flag) for flag in flags])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with `ca`, `cert`, `key` and `api-key`."""
    folder = tmp_path_factory.mktemp("files")
    authority = certificates.Authority(folder / "authority")
    pair = authority.issue("client")
    texts = {"ca": authority.certificate, "cert": pair.certificate, "key": pair.key}
    for name, text in (texts | {"api-key": "from-file\n"}).items():
        (folder / name).write_text(text)
    return folder


def test_no_flags_are_a_plain_connection():
    """Without flags and variables a connection has neither TLS nor headers."""
    assert connection(parse(), {}) == PLAIN
    assert as_flags(parse()) == []


@pytest.mark.parametrize("flags", [("--tls",), ("--ca={ca}",), ("--cert={cert}", "--key={key}")])
def test_a_file_or_the_flag_switches_tls_on(files, flags):
    """--tls, --ca and --cert each switch TLS on."""
    paths = {name: files / name for name in ("ca", "cert", "key")}
    config = connection(parse(*(flag.format(**paths) for flag in flags)), {})

    assert config.tls
    assert config.ssl_context() is not None


def test_the_api_key_is_of_the_file_or_the_variable(files):
    """The file wins over the variable; the key is a bearer token before the other headers."""
    both = connection(
        parse("--api-key-file", files / "api-key", "--header", "X-Team: blue: 1"),
        {"LOADTEST_API_KEY": "from-variable"},
    )
    variable = connection(parse(), {"LOADTEST_API_KEY": "from-variable"})

    assert both.headers == (("authorization", "Bearer from-file"), ("x-team", "blue: 1"))
    assert variable.headers == (("authorization", "Bearer from-variable"),)
    assert "from-file" not in repr(both)


def test_another_process_gets_the_same_connection(files):
    """The flags of a connection, parsed again, give the same connection; the key is not in them."""
    values = parse(
        *(f"--ca={files / 'ca'}", f"--cert={files / 'cert'}", f"--key={files / 'key'}"),
        *(f"--api-key-file={files / 'api-key'}", "--header=a:b", "--header=c:d", "--tls"),
    )
    flags = as_flags(values)

    assert connection(parse(*flags), {}) == connection(values, {})
    assert "from-file" not in " ".join(flags)


@pytest.mark.parametrize(
    ("flags", "environment", "message"),
    [
        (["--cert=x"], {}, "--cert and --key need each other"),
        (["--ca=nowhere"], {}, "cannot use TLS with nowhere"),
        (["--api-key-file=nowhere"], {}, "cannot read an API key from nowhere"),
        ([], {"LOADTEST_API_KEY": "two words"}, r"\$LOADTEST_API_KEY holds no API key"),
    ],
)
def test_what_cannot_be_used_is_a_usage_error(tmp_path, monkeypatch, flags, environment, message):
    """A file that is missing, half a pair or an impossible key is one line; it shows no key."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message) as caught:
        connection(parse(*flags), environment)

    assert "two words" not in str(caught.value)


@pytest.mark.parametrize("text", ["x", ":x", "a b:c", "ä:b", "a:b\nc"])
def test_a_header_has_a_name_and_a_value(text, capsys):
    """A header without name or colon, or with other characters, is refused by the parser."""
    with pytest.raises(SystemExit):
        parse("--header", text)

    assert "expected NAME:VALUE in printable ASCII" in capsys.readouterr().err


def test_a_key_is_not_shown():
    """The representation of a connection, for tracebacks, has no headers."""
    assert "secret" not in repr(ConnectionConfig(headers=(("a", "secret"),)))
