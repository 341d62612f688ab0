"""Attacks on runs and versions: endless runs, cancelled calls, hostile names, new versions."""

import contextlib
import json
import time

import numpy as np
from abuse.attacks import wire
from abuse.attacks.attack_bodies import grpc_calls, http1_posts
from abuse.attacks.attacker import Counts, Target
from abuse.versions import publish_again

from serving.client import predict_request
from serving.protos.tensorflow_serving_pb2 import GetModelStatusRequest, ReloadConfigRequest

_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
_RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
_SHORT = (("grpc-timeout", "500m"),)
_ENDLESS_TRIPS = 1 << 62
_LONG_SIZE = 3000  # a product of int64 matrices: over ten seconds on one core, and 150 MB


def _run_for_ever(target: Target, message: bytes) -> Counts:
    """Make three calls with a deadline and three without; count the deadlines that were kept."""
    body = wire.grpc_body(message)
    connection = wire.Connection(target.address)
    with_deadline = [
        connection.request(wire.grpc_fields(wire.PREDICT, _SHORT), body) for _ in range(3)
    ]
    without = [connection.request(wire.grpc_fields(wire.PREDICT), body) for _ in range(3)]
    connection.answers(with_deadline, time.monotonic() + min(3.0, target.left()))
    ended = len(connection.ended & set(with_deadline))
    for stream in without:
        connection.socket.sendall(wire.reset(stream))
    connection.close()
    return {"calls": 6, "deadlines kept": ended}


def endless(target: Target) -> Counts:
    """Run a Loop of 2^62 trips with a deadline and without; then publish a new version of it."""
    trips = np.array([_ENDLESS_TRIPS], np.int64)
    message = predict_request("endless", {"trips": trips}).SerializeToString()
    counts = _run_for_ever(target, message)
    publish_again(target.models_dir / "endless", 2)
    while target.left():
        if b'"AVAILABLE"' in _get(target, "/v1/models/endless/versions/2"):
            return counts | {"new version available": 1}
        time.sleep(0.2)
    return counts | {"new version available": 0}


def long_node(target: Target) -> Counts:
    """Run one MatMul of many seconds, which cannot be stopped: runs end only between nodes."""
    size = np.array([_LONG_SIZE], np.int64)
    counts = _run_for_ever(target, predict_request("long", {"size": size}).SerializeToString())
    time.sleep(target.left())
    return counts


def _get(target: Target, path: str) -> bytes:
    received = b""
    with contextlib.suppress(OSError):
        connection = wire.connect(target.address)
        request = f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        connection.sendall(request.encode())
        while part := connection.recv(1 << 16):
            received += part
    return received


def cancelled(target: Target) -> Counts:
    """Make calls of tens of milliseconds, 50 at a time, and cancel them while they run."""
    inputs = {"x": np.ones((1, 700), np.float32)}
    body = wire.grpc_body(predict_request("slow", inputs).SerializeToString())
    sent = closed = 0
    while target.left() and sent < 5000:
        connection = None
        try:
            connection = wire.Connection(target.address)
            while target.left() and sent < 5000:
                fields = wire.grpc_fields(wire.PREDICT)
                streams = [connection.request(fields, body) for _ in range(50)]
                time.sleep(0.01)
                connection.socket.sendall(b"".join(map(wire.reset, streams)))
                connection.receive()
                sent += len(streams)
        except OSError:
            closed += 1
        finally:
            if connection is not None:
                connection.close()
    return {"calls": sent, "closed by the server": closed}


def names(target: Target) -> Counts:
    """Send names that would forge log lines or move a terminal's cursor, in every name field."""
    forged = "x\n2026-01-01T00:00:00.000 INFO serving: forged\r\x1b[2J\x00\u2028"
    predict = predict_request(forged, {forged: np.ones((1, 3), np.float32)}, signature_name=forged)
    fragile = predict_request("fragile", {"shape": np.array([7])}, outputs=["y"])
    status = GetModelStatusRequest()
    status.model_spec.name = forged
    status.model_spec.version_label = forged
    reload = ReloadConfigRequest()
    reload.config.model_config_list.config.add(
        name=forged, base_path=f"/nowhere/{forged}", model_platform="tensorflow"
    )
    quoted = "x%0A2026-01-01T00:00:00.000%20INFO%20serving:%20forged%0D%1B[2J%00"
    hostile = b"x-request-id: \xff\x9b2J forged %0A\r\n"
    infer = {"inputs": [{"name": forged, "shape": [1], "datatype": forged, "data": [forged]}]}
    total: Counts = {}
    while target.left() and total.get("calls", 0) < 400:
        step = Target(target.address, time.monotonic() + 0.2, target.models_dir)
        outcomes = [
            *(
                grpc_calls(step, path, message.SerializeToString(), 5)
                for path, message in (
                    (wire.PREDICT, predict),
                    (_STATUS, status),
                    (_RELOAD, reload),
                    ("/" + forged.rstrip("\u2028"), status),
                )
            ),
            grpc_calls(
                Target(target.address, time.monotonic() + 0.2, target.models_dir),
                wire.PREDICT,
                fragile.SerializeToString(),
                5,
                extra=(("x-request-id", "\xff\x9b2J forged"),),
            ),
            *(
                http1_posts(target, path, json.dumps(document).encode(), 2, hostile)
                for path, document in (
                    (f"/v1/models/{quoted}:predict", {"instances": [forged]}),
                    (f"/v1/models/fragile/labels/{quoted}:predict", {"inputs": [7]}),
                    ("/v1/models/fragile:predict", {"inputs": [7]}),
                    ("/v1/models/fragile:predict", {"signature_name": forged, "inputs": [7]}),
                    (f"/v2/models/{quoted}/infer", infer),
                    ("/v2/models/identity/infer", infer),
                    (f"/{quoted}", {}),
                )
            ),
        ]
        for outcome in outcomes:
            for name, count in outcome.items():
                total[name] = total.get(name, 0) + count
    return total


def publishes(target: Target) -> Counts:
    """Publish 50 new versions of a model while calling it."""
    model_dir = target.models_dir / "mlp"
    inputs = {"x": np.ones((1, 8), np.float32)}
    message = predict_request("mlp", inputs).SerializeToString()
    counts: Counts = {}
    pause = target.left() / 50
    for version in range(2, 52):
        publish_again(model_dir, version)
        until = min(target.until, time.monotonic() + pause)
        step = Target(target.address, until, target.models_dir)
        for name, count in grpc_calls(step, wire.PREDICT, message, 20).items():
            counts[name] = counts.get(name, 0) + count
    return counts | {"versions published": 50}


def nothing(target: Target) -> Counts:
    """Do nothing until the end, for rows that do their harm themselves."""
    time.sleep(target.left())
    return {}


ATTACKS = {
    "endless": endless,
    "long_node": long_node,
    "cancelled": cancelled,
    "names": names,
    "publishes": publishes,
    "nothing": nothing,
}
