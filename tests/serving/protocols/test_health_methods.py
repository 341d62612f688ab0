"""Tests of grpc.health.v1 on each front."""

import asyncio
import threading
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.protocols.health_methods import Health


@pytest.fixture(scope="module")
def target(models_dir, server_on_front):
    """Address of a server that serves every tiny model on one of the fronts."""
    with server_on_front(models_dir) as address:
        yield address


def test_health_follows_grpc_health_v1(channel):
    """Every service and every loaded model is SERVING; an unknown name is NOT_FOUND."""
    stub = health_pb2_grpc.HealthStub(channel)

    for service in ("", "tensorflow.serving.PredictionService", "ModelService", "identity"):
        response = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
        assert response.status == health_pb2.HealthCheckResponse.SERVING

    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="nope"), timeout=10)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_health_can_be_watched_until_the_server_stops(models_dir, server_on_front):
    """Watch tells the state at once, and NOT_SERVING when the server begins to stop."""
    states = []
    with server_on_front(models_dir) as address:
        channel = grpc.insecure_channel(address)
        watching = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), timeout=30
        )
        states.append(next(watching).status)
        reader = threading.Thread(target=lambda: states.append(next(watching).status), daemon=True)
        reader.start()
        time.sleep(0.5)  # grpcio drops an answer that nobody waits for when the call ends
    reader.join(10)
    channel.close()

    assert states == [
        health_pb2.HealthCheckResponse.SERVING,
        health_pb2.HealthCheckResponse.NOT_SERVING,
    ]


def test_a_watcher_is_told_of_its_own_changes_alone():
    """What becomes of other models is none; a model that comes, goes and stops is."""

    async def requests():
        yield health_pb2.HealthCheckRequest(service="a")

    async def scenario() -> list[int]:
        health = Health()
        told: list[int] = []

        async def watch() -> None:
            async for response in health.watch(requests(), None):
                told.append(response.status)  # noqa: PERF401 - one by one

        watching = asyncio.create_task(watch())
        for states in (
            {},
            {"b": True},
            {"a": True},
            {"a": True, "b": False},
            {"a": True},
            {"b": True},
            {"a": False},
        ):
            health.set_states(states)
            for _ in range(5):
                await asyncio.sleep(0)
        health.shut_down()
        await asyncio.wait_for(watching, 10)
        return told

    told = [health_pb2.HealthCheckResponse.ServingStatus.Name(n) for n in asyncio.run(scenario())]

    assert told == ["SERVICE_UNKNOWN", "SERVING", "SERVICE_UNKNOWN", "NOT_SERVING"]
