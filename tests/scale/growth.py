"""Measurements of what grows with replicas, models, versions and connections."""

import contextlib
import shutil
import signal
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sample_models import tiny_models
from scale import poisson_calls
from scale.balancers import envoy
from scale.calibration import balancer_cpu_seconds, balancers, cpu_seconds
from scale.replicas import Replica, replicas

Row = dict[str, Any]

SIZES = (1, 2, 4, 8, 16, 32, 64)
ONE_THREAD = ("--instances=1", "--intra_op_threads=1")
_IDLE_SECONDS = 3.0
_LOAD_SECONDS = 3.0
_RATE = 400.0
_CORES = {1: [(0,)], 2: [(0,), (1,)], 4: [(0,), (1,), (0,), (1,)]}


def service_times(models_dir: Path, model: str, *flags: str, seconds: float) -> Row:
    """Measure the CPU time of runs of one replica with one thread on a core, by their rows.

    CPU time, because other work on the machine prolongs the runs but hardly changes it. The main
    thread runs the event loop; its work for calls of one row is measured with 1 caller and with 32,
    when fewer wake-ups make it cheaper. The other threads run the model.

    Args:
        models_dir: Folder with the model.
        model: Its name.
        flags: Flags of the server.
        seconds: Length of the calls of each size.
    """
    row: Row = {"model": model, "flags": list(flags), "run_ms": {}, "wall_median_ms": {}, "n": {}}
    with replicas(models_dir, [(0,)], *ONE_THREAD, *flags) as (replica,):
        address = replica.address
        for size in SIZES:
            body = poisson_calls.body(model, size)
            poisson_calls.one_by_one([address], [body], seconds=0.1)
            before = cpu_seconds([replica]) - event_loop_seconds(replica)
            loop = event_loop_seconds(replica)
            calls = poisson_calls.one_by_one([address], [body], seconds=seconds)
            # Each measurement has one call more, which connects.
            count = calls.count + 1
            if size == 1:
                row["server_ms"] = 1e3 * (event_loop_seconds(replica) - loop) / count
            run = cpu_seconds([replica]) - event_loop_seconds(replica) - before
            row["run_ms"][str(size)] = 1e3 * run / count
            row["wall_median_ms"][str(size)] = 1e3 * statistics.median(calls.compute)
            row["n"][str(size)] = count
        loop = event_loop_seconds(replica)
        body = poisson_calls.body(model, 1)
        many = poisson_calls.one_by_one([address] * 32, [body], seconds=2 * seconds)
        busy = event_loop_seconds(replica) - loop
        row["busy_server_ms"] = 1e3 * busy / (many.count + 32)
    return row


def event_loop_seconds(replica: Replica) -> float:
    """Return the CPU seconds of a replica's main thread, which runs the event loop."""
    threads = psutil.Process(replica.pid).threads()
    return sum(one.user_time + one.system_time for one in threads if one.id == replica.pid)


def delays(models_dir: Path, folder: Path, *, seconds: float) -> Row:
    """Measure the time of calls through Envoy outside the run and the server's work for them."""
    with (
        replicas(models_dir, [(0,)], *ONE_THREAD) as started,
        envoy([one.ports for one in started], folder, retries=True) as address,
    ):
        cpu = cpu_seconds(started)
        calls = poisson_calls.one_by_one(
            [address], [poisson_calls.body("simcnn", 1)], seconds=seconds
        )
        server = (cpu_seconds(started) - cpu - sum(calls.compute)) / calls.count
    outside = [
        1e3 * (latency - compute - server)
        for latency, compute in zip(calls.latencies, calls.compute, strict=True)
    ]
    return {"calls": calls.count, "median_ms": max(0.0, statistics.median(outside))}


def calls_of_replicas(models_dir: Path, folder: Path, count: int, *, balanced: bool) -> Row:
    """Measure the CPU time of a call at a steady rate, with a number of replicas on two cores."""
    with contextlib.ExitStack() as stack:
        started = stack.enter_context(replicas(models_dir, _CORES[count], *ONE_THREAD))
        addresses = [one.address for one in started]
        if balanced:
            ports = [one.ports for one in started]
            addresses = [stack.enter_context(envoy(ports, folder, retries=True))]
        request = poisson_calls.body("simcnn", 1)
        poisson_calls.open_loop(addresses, request, rate=_RATE, seconds=1, seed=0)
        before = cpu_seconds(started), balancer_cpu_seconds()
        calls = poisson_calls.open_loop(
            addresses, request, rate=_RATE, seconds=_LOAD_SECONDS, seed=1
        )
        server = cpu_seconds(started) - before[0]
        balancer = balancer_cpu_seconds() - before[1]
        memory = sum(one.memory_info().rss for one in balancers())
    return {
        "replicas": count,
        "envoy": balanced,
        "rate": _RATE,
        "calls": calls.count,
        "lost": calls.lost,
        "server_us": 1e6 * server / calls.count,
        "balancer_us": 1e6 * balancer / calls.count,
        "client_us": 1e6 * calls.cpu_seconds / calls.count,
        "p50_ms": 1e3 * statistics.median(calls.latencies),
        "balancer_mib": memory / 2**20,
    }


def idle(started: Sequence[Replica]) -> Row:
    """Return memory and CPU share of idle servers, and of the Envoys beside them."""
    time.sleep(1)
    before = cpu_seconds(started), balancer_cpu_seconds(), time.monotonic()
    time.sleep(_IDLE_SECONDS)
    seconds = time.monotonic() - before[2]
    memory = sum(psutil.Process(one.pid).memory_info().rss for one in started)
    row = {
        "server_mib": memory / 2**20,
        "server_core_percent": 100 * (cpu_seconds(started) - before[0]) / seconds,
    }
    if envoys := balancers():
        row["balancer_mib"] = sum(one.memory_info().rss for one in envoys) / 2**20
        row["balancer_core_percent"] = 100 * (balancer_cpu_seconds() - before[1]) / seconds
    return row


def idle_with_replicas(models_dir: Path, folder: Path, count: int) -> Row:
    """Measure idle replicas, whose health Envoy asks for every 0.5 s."""
    with (
        replicas(models_dir, _CORES[count], *ONE_THREAD) as started,
        envoy([one.ports for one in started], folder, retries=True),
    ):
        return {"replicas": count, **idle(started)}


def idle_with_models(folder: Path, count: int) -> Row:
    """Measure an idle server with many tiny models."""
    models = folder / f"models-{count}"
    for number in range(count):
        tiny_models.identity(models, name=f"identity{number}")
    with replicas(models, [(0,)], *ONE_THREAD) as started:
        return {"models": count, **idle(started)}


def idle_with_versions(models_dir: Path, folder: Path, count: int) -> Row:
    """Measure an idle server with several versions of SimCNN loaded."""
    base = folder / f"versions-{count}" / "simcnn"
    for number in range(1, count + 1):
        shutil.copytree(models_dir / "simcnn" / "1", base / str(number))
    config = folder / f"versions-{count}.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "simcnn" base_path: "{base}" '
        'model_platform: "tensorflow" model_version_policy { all {} } } }'
    )
    with replicas(None, [(0,)], *ONE_THREAD, f"--model_config_file={config}") as started:
        return {"versions": count, **idle(started)}


def idle_with_connections(models_dir: Path, count: int) -> Row:
    """Measure an idle server with many idle connections."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    with contextlib.ExitStack() as stack:
        (server,) = stack.enter_context(replicas(models_dir, [(0,)], *ONE_THREAD))
        for _ in range(count):
            channel = stack.enter_context(grpc.insecure_channel(server.address, options))
            grpc.channel_ready_future(channel).result(timeout=20)
        return {"connections": count, **idle([server])}


def health_checks(models_dir: Path, count: int) -> Row:
    """Measure the server's CPU time for a health check over a connection that stays open."""
    with (
        replicas(models_dir, [(0,)], *ONE_THREAD) as started,
        grpc.insecure_channel(f"127.0.0.1:{started[0].ports[1]}") as channel,
    ):
        check = health_pb2_grpc.HealthStub(channel).Check
        check(health_pb2.HealthCheckRequest(), timeout=10)
        before = cpu_seconds(started)
        for _ in range(count):
            check(health_pb2.HealthCheckRequest(), timeout=10)
        return {"checks": count, "server_us": 1e6 * (cpu_seconds(started) - before) / count}


def start_and_stop(models_dir: Path) -> Row:
    """Measure the seconds until a server with both bundled models is ready, and of its stop."""
    began = time.monotonic()
    with replicas(models_dir, [(0, 1)]) as (server,):
        start = time.monotonic() - began
        began = time.monotonic()
        code = server.stop(signal.SIGTERM)
        return {"start_s": start, "stop_s": time.monotonic() - began, "exit_code": code}
