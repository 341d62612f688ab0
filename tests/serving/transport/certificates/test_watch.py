"""Tests of which changes of the TLS files are made, and which are refused, without a server."""

import asyncio
import itertools
import logging
from pathlib import Path

import certificates
import pytest
from google.protobuf import text_format

from serving.errors import ConfigError
from serving.protos.tfs_config_pb2 import SSLConfig
from serving.settings import tls_file
from serving.transport.certificates import watch as watch_module
from serving.transport.certificates.watch import CertificateWatch
from serving.transport.tls import PortCertificates


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> certificates.Authority:
    """The authority that signs all certificates."""
    return certificates.Authority(tmp_path_factory.mktemp("certificates") / "authority")


@pytest.fixture(scope="module")
def texts(authority) -> list[str]:
    """Two files with different certificates, and the second one with client certificates."""
    first, second = authority.issue("first"), authority.issue("second")
    return [
        text_format.MessageToString(
            SSLConfig(
                server_key=pair.key,
                server_cert=pair.certificate,
                custom_ca=authority.certificate,
                client_verify=mutual,
            )
        )
        for pair, mutual in ((first, False), (second, False), (second, True))
    ]


class Watched:
    """Two files, the watch of them, and the changes that it asks for."""

    def __init__(self, folder: Path, *, grpc: str, rest: str, may_differ: bool = False) -> None:
        self.grpc, self.rest = folder / "grpc.config", folder / "rest.config"
        self.grpc.write_text(grpc)
        self.rest.write_text(rest)
        self.changes: list[PortCertificates] = []
        self.watch = CertificateWatch(
            [self.grpc, self.rest],
            lambda: tls_file.read_both(self.grpc, self.rest),
            may_differ=may_differ,
        )

    async def _change(self, certificates: PortCertificates) -> None:
        self.changes.append(certificates)

    def look(self, times: int = 1) -> None:
        """Check the files some times."""

        async def looks() -> None:
            for _ in range(times):
                await self.watch.look([self._change])

        asyncio.run(looks())


def test_unchanged_files_change_nothing(tmp_path, texts):
    """Files with the same certificates as before cause no change, whatever their time stamps."""
    watched = Watched(tmp_path, grpc=texts[0], rest=texts[1])
    watched.look()
    watched.grpc.write_text(texts[0])
    watched.rest.write_text(f"{texts[1]}\n# a comment\n")
    watched.look(2)

    assert watched.changes == []
    assert watched.watch.failures == 0


def test_a_changed_file_is_one_change(tmp_path, texts, caplog):
    """A new certificate is passed on once, and logged with its subject for its port only."""
    watched = Watched(tmp_path, grpc=texts[0], rest=texts[1])
    before = dict(watched.watch.expires_at)
    watched.grpc.write_text(texts[1])
    with caplog.at_level(logging.INFO):
        watched.look(3)

    assert watched.changes == [tls_file.read_both(watched.grpc, watched.rest)]
    assert watched.watch.certificates == watched.changes[0]
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "new certificate of the gRPC port"
    ]
    assert "CN=second" in caplog.text
    assert watched.watch.expires_at["grpc"] == before["rest"]


def test_ports_with_one_tls_never_get_two(tmp_path, texts, caplog):
    """Two equal files make one endpoint: while they differ, nothing changes; then both change."""
    watched = Watched(tmp_path, grpc=texts[0], rest=texts[0])
    watched.rest.write_text(texts[1])
    watched.look(2)
    refused = list(watched.changes)
    watched.grpc.write_text(texts[1])
    watched.look()

    assert refused == []
    assert "make them equal again, or restart the server" in caplog.text
    assert len(watched.changes) == 1
    assert watched.changes[0].are_shared


@pytest.mark.parametrize("may_differ", [False, True])
def test_ports_with_two_tls_may_differ_or_not(tmp_path, texts, may_differ):
    """Ports that are two endpoints may have equal certificates for a while, and then differ."""
    start = texts[0] if may_differ else texts[1]
    watched = Watched(tmp_path, grpc=texts[0], rest=start, may_differ=may_differ)
    watched.grpc.write_text(texts[1])
    watched.rest.write_text(texts[1])
    watched.look()
    watched.grpc.write_text(texts[0])
    watched.look()

    assert [change.are_shared for change in watched.changes] == [True, False]
    assert watched.watch.failures == 0


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_client_verify_changes_only_with_a_restart(tmp_path, texts, before, after, caplog):
    """A file that begins or ends to demand client certificates is refused: a restart is needed."""
    watched = Watched(tmp_path, grpc=texts[before], rest=texts[before])
    watched.grpc.write_text(texts[after])
    watched.rest.write_text(texts[after])
    watched.look(2)

    assert watched.changes == []
    assert "client_verify of the gRPC port has changed" in caplog.text
    assert "restart" in caplog.text


def test_a_file_that_is_being_written_is_not_complained_about(tmp_path, texts, caplog):
    """An unusable file is counted at every check, and logged only if it stays so; once."""
    watched = Watched(tmp_path, grpc=texts[0], rest=texts[1])
    watched.grpc.write_text(texts[0][:100])
    watched.look()
    quiet = not caplog.records
    watched.look(3)
    logged = len(caplog.records)
    watched.grpc.write_text(texts[0])
    watched.look()
    watched.grpc.write_text(texts[0][:100])
    watched.look(2)

    assert quiet
    assert logged == 1
    assert len(caplog.records) == 2
    assert watched.watch.failures == 6
    assert watched.changes == []


def test_a_change_that_the_web_server_rejects_is_tried_again(tmp_path, texts):
    """If the change fails, the old certificate stays, and the next check tries again."""
    watched = Watched(tmp_path, grpc=texts[0], rest=texts[1])
    before = watched.watch.certificates
    watched.grpc.write_text(texts[1])
    answers = iter([ConfigError("no"), None])

    async def change(_certificates: PortCertificates) -> None:
        if (error := next(answers)) is not None:
            raise error

    asyncio.run(watched.watch.look([change]))
    kept = watched.watch.certificates
    asyncio.run(watched.watch.look([change]))

    assert kept == before
    assert watched.watch.certificates.are_shared
    assert watched.watch.failures == 1


def test_an_expired_certificate_is_a_warning(tmp_path, texts, monkeypatch, caplog):
    """A server with an expired certificate starts, and says that clients refuse it."""
    monkeypatch.setattr(watch_module.time, "time", lambda: 4e9)
    Watched(tmp_path, grpc=texts[0], rest=texts[0])

    assert caplog.text.count("has expired") == 2


def test_an_unexpected_error_does_not_end_the_watch(tmp_path, texts, monkeypatch, caplog):
    """If a check fails in an unforeseen way, the next check takes place."""
    monkeypatch.setattr(watch_module, "_POLL_SECONDS", 0.01)
    watched = Watched(tmp_path, grpc=texts[0], rest=texts[1])
    watched.grpc.write_text(texts[1])
    calls = itertools.count()

    async def change(_certificates: PortCertificates) -> None:
        if next(calls) == 0:
            msg = "unforeseen"
            raise RuntimeError(msg)
        done.set()

    async def watch() -> None:
        task = asyncio.create_task(watched.watch.watch([change]))
        await done.wait()
        task.cancel()

    done = asyncio.Event()
    asyncio.run(watch())

    assert "unforeseen" in caplog.text
