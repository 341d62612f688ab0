"""The execution provider of this process: CUDA if a probe shows that it works, else the CPU."""

import logging
from typing import Literal

from serving.engine.devices import probe
from serving.engine.devices.library import onnxruntime

logger = logging.getLogger(__name__)

Device = Literal["auto", "cpu", "cuda"]
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class DeviceError(Exception):
    """The device given by `--device` cannot be used."""


def available_providers() -> list[str]:
    """Return the execution providers that this ONNX Runtime was built with."""
    providers: list[str] = onnxruntime.get_available_providers()
    return providers


def cuda_works() -> bool:
    """Return whether this ONNX Runtime has CUDA and a graph ran on it; the first call may probe."""
    return CUDA in available_providers() and not probe.cuda_failure()


def choose_providers(device: Device) -> tuple[list[str], str]:
    """Return the execution providers to request, and the reason as text for the log.

    Raises:
        DeviceError: the device is `cuda`, and CUDA does not work here.
    """
    if device == "cpu":
        return [CPU], "--device cpu"
    offered = available_providers()
    if CUDA in offered:
        failure = probe.cuda_failure()
        if not failure:
            return [CUDA, CPU], f"--device {device}, a probe ran on it"
        if device == "cuda":
            msg = f'device "cuda" requested but CUDA does not work: {failure}, or pass --device cpu'
            raise DeviceError(msg)
        return [CPU], f"CUDA does not work: {failure}"
    if device == "cuda":
        msg = (
            f'device "cuda" requested but ONNX Runtime offers only {", ".join(offered)}; '
            "install the serve-gpu extra or pass --device auto"
        )
        raise DeviceError(msg)
    return [CPU], "no CUDA provider in this ONNX Runtime"


def chosen(device: Device, instances: int, threads: int) -> str:
    """Return the execution provider that models will run on, after a probe of it, and log it.

    Args:
        device: The configured device.
        instances: Runs of a model at the same time, for the log.
        threads: Threads inside one run, for the log.

    Raises:
        DeviceError: the configured device is not available.
    """
    providers, reason = choose_providers(device)
    is_missed = device == "auto" and providers[0] == CPU and CUDA in available_providers()
    logger.log(
        logging.WARNING if is_missed else logging.INFO,
        "execution provider %s (%s), %d instances x %d threads a model",
        providers[0],
        reason,
        instances,
        threads,
    )
    return providers[0]
