"""Tests of who may change the models, on which address, and of the audit log."""

import logging
import re

import grpc
import pytest
from calling.access_calls import RELOAD_PATH, Code, named, predict, send
from running import servers

from serving.client import PREDICT_PATH


def test_a_reload_is_in_the_audit_log(models_dir, front, keys_file, caplog, running_server):
    """The audit log has who has changed the models, from where, what has changed, and refusals."""
    caplog.set_level(logging.INFO, "serving.audit")
    sets = ({"identity": "identity", "plus": "add"}, {"identity": "nowhere"}, {})
    with (
        running_server(models_dir, front=front, api_keys_file=keys_file) as target,
        grpc.insecure_channel(target) as channel,
    ):
        codes = [
            send(channel, RELOAD_PATH, named(models_dir, **models), "all")[0] for models in sets
        ]
    lines = [record.getMessage() for record in caplog.records if record.name == "serving.audit"]

    assert codes == [Code.OK, Code.UNKNOWN, Code.OK]
    pattern = r"models (not )?changed by all from (ipv4:)?127\.0\.0\.1:\d+: "
    assert all(re.match(pattern, line) for line in lines)
    told = [re.sub(pattern, "", line) for line in lines]
    assert told[0].startswith("added plus; removed ")
    assert told[1].startswith("asked for removed plus; changed identity; refused: ")
    assert told[2] == "removed identity, plus"


def test_without_keys_a_change_is_anonymous(models_dir, caplog, running_server):
    """Without keys everyone may change the models, and the audit log says anonymous."""
    caplog.set_level(logging.INFO, "serving.audit")
    with running_server(models_dir) as target, grpc.insecure_channel(target) as channel:
        send(channel, RELOAD_PATH, named(models_dir, identity="identity"))

    assert any(line.startswith("models changed by anonymous from 127") for line in caplog.messages)


@pytest.mark.parametrize("where", ["127.0.0.1:0", "unix"])
def test_the_admin_listener_alone_changes_models(models_dir, front, tmp_path, where):
    """With --admin_address, only this address answers a reload; it answers everything else too."""
    path = tmp_path / "admin.sock"
    address = f"unix:{path}" if where == "unix" else where
    with servers.model_server(models_dir, front=front, admin_address=address) as server:
        target = address if where == "unix" else f"127.0.0.1:{server.admin_port}"
        request = named(models_dir, identity="identity")
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            refused, message, _ = send(channel, RELOAD_PATH, request)
        with grpc.insecure_channel(target) as channel:
            codes = [
                send(channel, RELOAD_PATH, request)[0],
                send(channel, PREDICT_PATH, predict())[0],
            ]

    assert refused is Code.PERMISSION_DENIED
    assert "--admin_address" in message
    assert codes == [Code.OK, Code.OK]
    assert not path.exists()


def test_the_admin_listener_asks_for_keys_too(models_dir, keys_file, tmp_path):
    """With keys, the admin listener needs a key with the role admin."""
    address = f"unix:{tmp_path / 'admin.sock'}"
    settings = {"api_keys_file": keys_file, "admin_address": address}
    request = named(models_dir, identity="identity")
    with servers.model_server(models_dir, **settings), grpc.insecure_channel(address) as channel:
        codes = [send(channel, RELOAD_PATH, request, caller)[0] for caller in (None, "a", "all")]

    assert codes == [Code.UNAUTHENTICATED, Code.PERMISSION_DENIED, Code.OK]


def test_reloads_can_be_switched_off(models_dir, front, tmp_path, running_server):
    """With --enable_reload_rpc=false no address answers a reload, and the models stay."""
    address = f"unix:{tmp_path / 'admin.sock'}"
    settings = {"front": front, "enable_reload_rpc": False, "admin_address": address}
    with running_server(models_dir, **settings) as target:
        outcomes = []
        for where in (target, address):
            with grpc.insecure_channel(where) as channel:
                outcomes.append(send(channel, RELOAD_PATH, named(models_dir)))
                assert send(channel, PREDICT_PATH, predict())[0] is Code.OK

    assert [code for code, _, _ in outcomes] == [Code.UNIMPLEMENTED, Code.UNIMPLEMENTED]
    assert "--enable_reload_rpc=false" in outcomes[1][1]
