"""Tests of server reflection on each front."""

import pytest
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)


@pytest.fixture(scope="module")
def target(models_dir, server_on_front):
    """Address of a server that serves every tiny model on one of the fronts."""
    with server_on_front(models_dir) as address:
        yield address


def test_reflection_describes_the_services(channel):
    """Reflection lists the services and their messages, for tools such as grpcurl."""
    database = ProtoReflectionDescriptorDatabase(channel)

    assert list(database.get_services()) == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "inference.GRPCInferenceService",
        "tensorflow.serving.ModelService",
        "tensorflow.serving.PredictionService",
    ]
    file = database.FindFileContainingSymbol("tensorflow.serving.PredictRequest")
    assert "PredictRequest" in [message.name for message in file.message_type]
