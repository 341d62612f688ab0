"""A wrong transport, TLS setting or API key ends before the run, with the flag to change."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace

import certificates
import keys_files
import pytest
from calling import one_api
from running import stub_server

from loadtest.load.scenarios import settle
from loadtest.rows.images import LabelledImages
from loadtest.session.first_request import FirstRequest
from loadtest.settings.config import PLAIN, ConnectionConfig, LoadTestConfig, UsageError
from loadtest.transports.catalogue import DISCOVERIES

TRANSPORTS = sorted(DISCOVERIES)
BOTH_KINDS = ["tfs-grpc", "kserve-rest-binary"]


@pytest.fixture
def reason(split, tmp_path):
    """Return a function that sends a first request and returns the error, which is one line."""

    def ask(target: str, transport: str, connection=PLAIN, **settings) -> str:
        config = LoadTestConfig(
            target=target,
            model="echo",
            transport=transport,
            connection=connection,
            requests=1,
            output_dir=tmp_path,
            name="test",
        )
        config = replace(config, **settings)
        source = LabelledImages(split, None)
        first = FirstRequest(config, source, settle(config, len(split)), every_query=False)
        with pytest.raises(UsageError) as caught:
            asyncio.run(first.send())
        text = str(caught.value)
        assert "\n" not in text
        return text

    return ask


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory):
    """Files of an authority that the server does not trust: `ca`, `cert`, `key`."""
    folder = tmp_path_factory.mktemp("other")
    authority = certificates.Authority(folder / "authority", "another authority")
    pair = authority.issue("client")
    texts = {"ca": authority.certificate, "cert": pair.certificate, "key": pair.key}
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


def mutual(secure) -> ConnectionConfig:
    """The right connection to the server with mutual TLS."""
    return ConnectionConfig(
        tls=True, **{name: secure.folder / name for name in ("ca", "cert", "key")}
    )


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_plain_text_to_a_tls_port(reason, secure, transport):
    """Without --tls at a port with TLS: the line names --tls and --ca."""
    text = reason(secure.address(transport), transport)

    assert text.startswith(f"{secure.address(transport)} speaks TLS, and this run plain text")
    assert "add --tls, or --ca FILE" in text


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_tls_to_a_plain_port(reason, image_target, secure, transport):
    """With TLS at a port of plain text: the line names the flags that were given."""
    text = reason(image_target, transport, mutual(secure))

    assert text.startswith(f"{image_target} speaks plain text, and this run TLS")
    assert "leave out --ca, --cert, --key" in text


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_client_certificate_is_missing(reason, secure, transport):
    """Without --cert at a server that demands one: the line names --cert and --key."""
    connection = replace(mutual(secure), cert=None, key=None)
    text = reason(secure.address(transport), transport, connection)

    assert f"{secure.address(transport)} demands a client certificate" in text
    assert "add --cert FILE and --key FILE" in text


@pytest.mark.parametrize("transport", BOTH_KINDS)
def test_a_client_certificate_of_another_authority(reason, secure, other_authority, transport):
    """A certificate that the server does not trust: the line names its file."""
    connection = replace(mutual(secure), cert=other_authority / "cert", key=other_authority / "key")
    text = reason(secure.address(transport), transport, connection)

    assert f"refuses the client certificate {other_authority / 'cert'}" in text
    assert "change --cert and --key" in text


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_another_authority_is_trusted(reason, secure, other_authority, transport):
    """A --ca that did not sign the server's certificate: the line names both and the reason."""
    connection = replace(mutual(secure), ca=other_authority / "ca")
    text = reason(secure.address(transport), transport, connection)

    assert text.startswith(f"--ca {other_authority / 'ca'} received")
    assert f"the certificate of {secure.address(transport)} does not pass" in text
    assert "change --ca" in text


@pytest.mark.parametrize("transport", BOTH_KINDS)
def test_a_certificate_for_another_host(reason, image_target, tmp_path, transport):
    """A certificate without the host of --target: the line names the mismatch and --target."""
    authority = certificates.Authority(tmp_path / "authority")
    pair = authority.issue("server", host="models.example.com")
    (tmp_path / "ca").write_text(authority.certificate)
    connection = ConnectionConfig(tls=True, ca=tmp_path / "ca")
    serve = one_api.rest_alone if "rest" in transport else one_api.grpc_alone
    with serve(image_target, transport.partition("-")[0], pair) as target:
        text = reason(target, transport, connection)

    assert "mismatch" in text
    assert "change the host in --target" in text


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("api", ["tfs", "kserve"])
def test_grpc_at_a_rest_port(reason, image_target, tmp_path, api, tls):
    """A gRPC transport at a port of HTTP/1.1: the line names the REST transport."""
    pair, connection = None, ConnectionConfig()
    if tls:
        authority = certificates.Authority(tmp_path / "authority")
        pair = authority.issue("server")
        (tmp_path / "ca").write_text(authority.certificate)
        connection = ConnectionConfig(tls=True, ca=tmp_path / "ca")
    with one_api.rest_alone(image_target, api, pair) as target:
        text = reason(target, f"{api}-grpc", connection)

    assert text.startswith(f"{target} speaks HTTP/1.1 and not HTTP/2")
    assert f"pass --transport {api}-rest, which it answers, or its port for gRPC" in text


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("transport", ["tfs-rest", "kserve-rest", "kserve-rest-binary"])
def test_rest_at_a_grpc_port(reason, image_target, tmp_path, transport, tls):
    """A REST transport at a port of gRPC alone: the line names the gRPC transport."""
    api = transport.partition("-")[0]
    pair, connection = None, ConnectionConfig()
    if tls:
        authority = certificates.Authority(tmp_path / "authority")
        pair = authority.issue("server")
        (tmp_path / "ca").write_text(authority.certificate)
        connection = ConnectionConfig(tls=True, ca=tmp_path / "ca")
    with one_api.grpc_alone(image_target, api, pair) as target:
        text = reason(target, transport, connection)

    assert text.startswith(f"{target} speaks HTTP/2 and not HTTP/1.1")
    assert f"pass --transport {api}-grpc, which it answers, or its port for REST" in text


@pytest.mark.parametrize("api", ["tfs", "kserve"])
def test_the_same_api_is_named_first(reason, image_target, api):
    """If several transports are answered, the one of the same API is named."""
    with one_api.rest_alone(image_target, "both") as target:
        text = reason(target, f"{api}-grpc")

    assert f"pass --transport {api}-rest" in text


@pytest.fixture
def deaf() -> Iterator[str]:
    """Address of a plain HTTP/2 port that waits for ever when a client begins with TLS."""

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            if connection.recv(3) == b"PRI":
                connection.sendall(b"\0\0\0\4\0\0\0\0\0")  # an empty SETTINGS frame
                connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=answer, args=(connection,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads = [threading.Thread(target=accept)]
        threads[0].start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("transport", BOTH_KINDS)
def test_the_port_is_looked_at_while_a_request_takes_long(reason, deaf, secure, transport):
    """A handshake that never ends: the reason comes although the deadline is an hour away."""
    text = reason(deaf, transport, mutual(secure), timeout_seconds=3600.0)

    assert text.startswith(f"{deaf} speaks plain text, and this run TLS")


def test_a_wrong_port_without_an_answer_over_any_transport(reason, image_target):
    """Without the model behind the port no transport is named, but the port and the flags are."""
    with one_api.rest_alone(image_target, "tfs") as target:
        text = reason(target, "tfs-grpc", model="nobody")

    assert "name the server's port for gRPC with --target, or another --transport" in text


@pytest.mark.parametrize(("api", "other"), [("tfs", "kserve"), ("kserve", "tfs")])
@pytest.mark.parametrize("kind", ["grpc", "rest"])
def test_an_api_that_the_server_does_not_have(reason, image_target, kind, api, other):
    """A server of the other API alone: the line quotes it and names the transport to pass."""
    serve = one_api.rest_alone if kind == "rest" else one_api.grpc_alone
    with serve(image_target, other) as target:
        text = reason(target, f"{api}-{kind}")

    assert text.startswith(f"{target} refused a request for model 'echo': ")
    assert ("HTTP_404" if kind == "rest" else "UNIMPLEMENTED") in text
    assert f"it answers the same over {other}-{kind}" in text
    assert f"pass --transport {other}-{kind}" in text


def test_kserve_at_a_server_of_tensorflow_serving_without_metadata(reason):
    """The other transports are tried with a whole request, so that metadata is not needed."""
    process = subprocess.Popen(
        [sys.executable, stub_server.__file__], stdout=subprocess.PIPE, text=True
    )
    try:
        target = process.stdout.readline().strip()
        text = reason(target, "kserve-grpc")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()

    assert "UNIMPLEMENTED" in text
    assert text.endswith("pass --transport tfs-grpc")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_unknown_model_has_no_hint_about_transports(reason, image_target, transport):
    """If no transport would be answered, the line has the server's words alone."""
    text = reason(image_target, transport, model="nobody")

    assert text.startswith(f"{image_target} refused a request for model 'nobody': ")
    assert "--transport" not in text


@pytest.fixture(scope="module")
def keyed(image_models_dir, running_server, tmp_path_factory):
    """Address of a server that demands an API key; `reader`'s may only read metrics."""
    file = keys_files.write(
        tmp_path_factory.mktemp("keys") / "keys.json",
        keys_files.entry("caller", "predict"),
        keys_files.entry("reader", "metrics"),
    )
    with running_server(image_models_dir, api_keys_file=file) as address:
        yield address


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_api_key_is_missing_or_wrong(reason, keyed, transport):
    """The line says whether a key was sent, names the flag and the variable, and has no key."""
    missing = reason(keyed, transport)
    wrong = reason(keyed, transport, ConnectionConfig(headers=keys_files.bearer("nobody")))

    assert missing.startswith(f"{keyed} demands an API key, and none was sent")
    assert "add --api-key-file FILE or set $LOADTEST_API_KEY" in missing
    assert wrong.startswith(f"{keyed} does not accept the API key that was sent")
    assert "change --api-key-file or $LOADTEST_API_KEY" in wrong
    assert keys_files.key_of("nobody") not in wrong


@pytest.mark.parametrize("transport", BOTH_KINDS)
def test_an_api_key_that_may_not_call_the_model(reason, keyed, transport):
    """A key without the role is told apart from an unknown one."""
    text = reason(keyed, transport, ConnectionConfig(headers=keys_files.bearer("reader")))

    assert text.startswith(f"{keyed} does not allow this call")
    assert "change --api-key-file or --cert" in text


@pytest.mark.parametrize("transport", BOTH_KINDS)
def test_nobody_listens(reason, transport):
    """A closed port: the line has the reason of the system and --target."""
    text = reason("127.0.0.1:1", transport)

    assert text.startswith("cannot reach a server at 127.0.0.1:1: ")
    assert "refused" in text
    assert text.endswith("change --target")


def test_compressed_requests_are_refused(reason, image_target):
    """A server that refuses compression, and answers without it: the line names --compression."""
    connection = ConnectionConfig(compression="gzip")
    with one_api.rest_alone(image_target, "tfs", takes_compression=False) as target:
        text = reason(target, "tfs-rest", connection)

    assert "HTTP_415" in text
    assert text.endswith("it answers without compression; leave out --compression gzip")


@pytest.mark.parametrize(
    ("port", "flags", "words"),
    [
        ("rpc", (), "speaks TLS, and this run plain text; add --tls, or --ca FILE"),
        ("rest", ("--transport=kserve-rest",), "speaks TLS, and this run plain text"),
    ],
)
def test_the_command_ends_with_one_line_and_exit_code_2(run, secure, port, flags, words):
    """The command line prints the reason as its last line, and leaves no report."""
    refused = run("--target", getattr(secure, port), "--model", "echo", "--requests", 1, *flags)

    last = refused.stderr.splitlines()[-1]
    assert refused.exit_code == 2
    assert last.startswith("error: ")
    assert words in last
    assert refused.stderr.count("error") == 1
    assert not list(refused.folder.iterdir())
