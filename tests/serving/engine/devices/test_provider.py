import onnxruntime
import pytest

from serving.engine.devices import probe, provider
from serving.engine.devices.provider import CPU, CUDA, DeviceError

NO_CUDA = CUDA not in onnxruntime.get_available_providers()


@pytest.fixture
def offered(monkeypatch):
    """ONNX Runtime offers CUDA; the function sets the result of the probe."""
    monkeypatch.setattr(provider, "available_providers", lambda: [CUDA, CPU])
    return lambda failure: monkeypatch.setattr(probe, "cuda_failure", lambda: failure)


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_cuda_is_used_if_the_probe_ran_on_it(offered, device):
    """CUDA comes first, and the CPU for nodes that CUDA does not have."""
    offered("")

    assert provider.choose_providers(device)[0] == [CUDA, CPU]
    assert provider.cuda_works()


def test_auto_is_the_cpu_if_the_probe_failed(offered):
    """Without a working CUDA, `auto` is the CPU, and the reason says what is missing."""
    offered("libcuda.so.1 is missing")

    assert provider.choose_providers("auto") == (
        [CPU],
        "CUDA does not work: libcuda.so.1 is missing",
    )
    assert not provider.cuda_works()


def test_cuda_is_never_replaced_silently(offered):
    """Device "cuda" raises DeviceError with the probe's reason and the way out."""
    offered("libcuda.so.1 is missing; install it")

    with pytest.raises(
        DeviceError, match=r"does not work: libcuda.so.1 is missing; .*or pass --device cpu"
    ):
        provider.choose_providers("cuda")


def test_the_cpu_needs_no_probe(offered):
    """With `--device cpu` nothing is probed: a broken driver does not matter."""
    offered("never asked")

    assert provider.choose_providers("cpu") == ([CPU], "--device cpu")


@pytest.mark.skipif(not NO_CUDA, reason="this ONNX Runtime has CUDA")
def test_an_onnx_runtime_without_cuda_says_what_it_offers():
    """Without the provider, device "cuda" is refused and `auto` is the CPU; nothing is probed."""
    with pytest.raises(DeviceError, match="install the serve-gpu extra or pass --device auto"):
        provider.choose_providers("cuda")
    assert provider.choose_providers("auto")[0] == [CPU]
    assert not provider.cuda_works()
