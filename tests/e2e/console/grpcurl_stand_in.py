"""Does what grpcurl does with the console's snippets, where grpcurl is not installed.

`python grpcurl_stand_in.py (-plaintext | -cacert FILE) [-H "NAME: VALUE"] -d @ ADDRESS METHOD`
finds the method by server reflection, reads the request from standard input as protobuf's JSON,
and prints the answer as such.
"""

import sys

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)


class _Headers(grpc.StreamStreamClientInterceptor, grpc.UnaryUnaryClientInterceptor):
    """Sends headers with every call, reflection included, as grpcurl does."""

    def __init__(self, headers: list[tuple[str, str]]) -> None:
        self._headers = headers

    def intercept_stream_stream(self, continuation, details, requests):
        return continuation(details._replace(metadata=self._headers), requests)

    def intercept_unary_unary(self, continuation, details, request):
        return continuation(details._replace(metadata=self._headers), request)


def main(arguments: list[str]) -> None:
    """Call the method.

    Raises:
        ValueError: an argument is unknown.
    """
    metadata, certificates, source = [], None, ""
    left = list(arguments)
    while len(left) > 2:
        flag = left.pop(0)
        if flag == "-H":
            name, _, value = left.pop(0).partition(":")
            metadata.append((name.strip().lower(), value.strip()))
        elif flag == "-cacert":
            with open(left.pop(0), "rb") as file:  # noqa: PTH123 - as short as the program
                certificates = file.read()
        elif flag == "-d":
            source = left.pop(0)
        elif flag != "-plaintext":
            msg = f"unknown flag {flag}"
            raise ValueError(msg)
    address, method = left
    if source != "@":
        msg = f"-d is {source!r}, expected @"
        raise ValueError(msg)
    opened = (
        grpc.insecure_channel(address)
        if certificates is None
        else grpc.secure_channel(address, grpc.ssl_channel_credentials(certificates))
    )
    channel = grpc.intercept_channel(opened, _Headers(metadata))
    service, _, name = method.rpartition("/")
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    found = pool.FindServiceByName(service).FindMethodByName(name)
    request = GetMessageClass(found.input_type)()
    json_format.Parse(sys.stdin.read(), request, descriptor_pool=pool)
    call = channel.unary_unary(
        f"/{method}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(found.output_type).FromString,
    )
    answer = call(request, timeout=30)
    print(json_format.MessageToJson(answer, descriptor_pool=pool))  # noqa: T201 - a program


if __name__ == "__main__":
    main(sys.argv[1:])
