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
import tiny_models
from grpc_health.v1 import health_pb2, health_pb2_grpc
from scale import poisson_calls
from scale.balancers import envoy
from scale.calibration import balancer_cpu_seconds, balancers, cpu_seconds
from scale.replicas import Replica, replicas
from scale.simulation.service_times import ServiceTimes, measured

Row = dict[str, Any]

SIZES = (1, 2, 4, 8, 16, 32, 64)
ONE_THREAD = ("--instances=1", "--intra_op_threads=1")
_IDLE_SECONDS = 3.0
_LOAD_SECONDS = 3.0
_RATE = 400.0
_CORES = {1: [(0,)], 2: [(0,), (1,)], 4: [(0,), (1,), (0,), (1,)]}


def service_times(models_dir: Path, model: str, *flags: str, seconds: float) -> Row:
    """Measure the runs of one replica with one thread on a core, by their rows.

    The caller asks with as many rows in one call as the run has. The server's work for calls of one
    row is measured with 1 caller and with 32, when fewer wake-ups make it cheaper.
    """
    with replicas(models_dir, [(0,)], *ONE_THREAD, *flags) as started:
        address = started[0].address
        bodies = [poisson_calls.body(model, size) for size in SIZES]
        calls = poisson_calls.one_by_one([address], bodies, seconds=seconds)
        cpu = cpu_seconds(started)
        single = poisson_calls.one_by_one([address], bodies[:1], seconds=seconds / 3)
        server = (cpu_seconds(started) - cpu - sum(single.compute)) / single.count
        loop = event_loop_seconds(started[0])
        many = poisson_calls.one_by_one([address] * 32, bodies[:1], seconds=seconds / 3)
        busy = (event_loop_seconds(started[0]) - loop) / many.count
    runs: dict[int, list[float]] = {size: [] for size in SIZES}
    for kind, run in zip(calls.kinds, calls.compute, strict=True):
        runs[SIZES[kind]].append(run)
    times = measured(runs)
    fixed, each = times.line()
    return {
        "model": model,
        "flags": list(flags),
        "runs": calls.count,
        "median_ms": {str(size): 1e3 * statistics.median(runs[size]) for size in SIZES},
        "mean_ms": {str(size): 1e3 * statistics.mean(runs[size]) for size in SIZES},
        "fixed_ms": 1e3 * fixed,
        "row_ms": 1e3 * each,
        "server_ms": 1e3 * server,
        "busy_server_ms": 1e3 * busy,
        "images_per_second_of_32_callers": many.count / many.seconds,
        "ratios": _spread(times),
    }


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
    outside = sorted(
        1e3 * (latency - compute - server)
        for latency, compute in zip(calls.latencies, calls.compute, strict=True)
    )
    quantiles = [max(0.0, outside[len(outside) * at // 100]) for at in range(1, 100, 2)]
    return {"calls": calls.count, "quantiles_ms": [round(value, 4) for value in quantiles]}


def _spread(times: ServiceTimes) -> list[float]:
    """Return 100 quantiles of the durations divided by their means, scaled to a mean of 1."""
    quantiles = [sorted(times.ratios)[len(times.ratios) * at // 200] for at in range(1, 200, 2)]
    mean = statistics.mean(quantiles)
    return [round(value / mean, 4) for value in quantiles]


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


def throughput(models_dir: Path, folder: Path, cores: Sequence[Sequence[int]]) -> Row:
    """Measure the images a second of replicas on cores with 32 callers, with and without Envoy."""
    threads = max(map(len, cores))
    flags = ("--precision=w8", f"--instances={threads}", "--intra_op_threads=1")
    row: Row = {"cores": [list(group) for group in cores]}
    bodies = [poisson_calls.body("resnet50", 1)]
    with (
        replicas(models_dir, cores, *flags) as started,
        envoy([one.ports for one in started], folder, retries=True) as address,
    ):
        for name, addresses in (
            ("direct", [one.address for one in started]),
            ("envoy", [address]),
        ):
            callers = [addresses[number % len(addresses)] for number in range(32)]
            calls = poisson_calls.one_by_one(callers, bodies, seconds=_LOAD_SECONDS)
            row[f"{name}_images_per_second"] = calls.count / calls.seconds
    return row


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
