"""Fixtures of the transport's tests: an application with a unary and a stream method."""

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from running.shouting_application import MAX_BUFFERED_BYTES, MAX_MESSAGE_BYTES, shout, shout_each

from serving.access.roles import Role
from serving.transport.grpc_application import GrpcApplication
from serving.transport.http_application import HttpApplication
from serving.transport.limits.byte_budget import ByteBudget
from serving.transport.limits.unread_answers import UnreadAnswers
from serving.transport.method_table import StreamMethod, UnaryMethod, method_table


@pytest.fixture
def application() -> GrpcApplication:
    """An application with one unary method and one stream method."""
    methods = method_table(
        [
            UnaryMethod(
                path="/s/Shout", request_type=StringValue, handler=shout, role=Role.PREDICT
            ),
            StreamMethod(
                path="/s/ShoutEach", request_type=StringValue, handler=shout_each, role=Role.PREDICT
            ),
        ]
    )
    budget = ByteBudget(MAX_BUFFERED_BYTES)
    unread = UnreadAnswers(MAX_MESSAGE_BYTES)
    http = HttpApplication([], max_body_bytes=MAX_MESSAGE_BYTES, budget=budget, unread=unread)
    return GrpcApplication(
        methods, http, max_message_bytes=MAX_MESSAGE_BYTES, budget=budget, unread=unread
    )
