"""The memory of a real server whose models come and go a thousand times."""

import os
from pathlib import Path

import grpc
import psutil
import pytest
from running import servers
from sample_models import tiny_models

from serving.client import PredictClient
from serving.protos.tensorflow_serving_pb2 import ReloadConfigRequest, ReloadConfigResponse

RELOAD_PATH = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
BUNDLED = Path(__file__).parents[3] / "models"
NAMES = ("simcnn", "resnet50")
# The memory is compared with that after this cycle: the first ones fill pools and caches.
SETTLED = 10
CYCLES = int(os.environ.get("MEMORY_CYCLES", "1000"))
MOST_GROWTH = 1.10


def reload(channel: grpc.Channel, folders: dict[str, Path]) -> None:
    """Serve these models, by name, and no others."""
    request = ReloadConfigRequest()
    for name, folder in folders.items():
        request.config.model_config_list.config.add(name=name, base_path=str(folder))
    call = channel.unary_unary(RELOAD_PATH, response_deserializer=ReloadConfigResponse.FromString)
    answer = call(request.SerializeToString(), timeout=60)
    assert answer.status.error_code == 0, answer.status.error_message


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_memory_is_level_over_a_thousand_loads_and_unloads(tmp_path, sample_images):
    """After 1,000 cycles of load, serve, unload, memory is within 10 % of the tenth cycle's."""
    others = {"identity": tiny_models.identity(tmp_path).parent}
    all_models = others | {name: BUNDLED / name for name in NAMES}
    images, after, answers = sample_images[:8], [], {name: set() for name in NAMES}
    with servers.as_process("--models_dir", str(tmp_path), "--port", "0") as server:
        target = server.wait_for(r"listening on (\S+),").group(1)
        process = psutil.Process(server.process.pid)
        with grpc.insecure_channel(target) as channel, PredictClient(target, timeout=60) as client:
            for _ in range(CYCLES):
                reload(channel, all_models)
                for name in NAMES:
                    classes = client.predict(name, {"images": images})["classes"]
                    answers[name].add(tuple(classes.tolist()))
                reload(channel, others)
                after.append(process.memory_info().rss)
            threads, files = process.num_threads(), process.num_fds()
        code = server.terminate()

    settled, last = after[SETTLED - 1], after[-1]
    figures = [f"{rss / 2**20:.1f}" for rss in after[SETTLED - 1 :: max(1, CYCLES // 20)]]
    print(f"MiB: {', '.join(figures)}; {threads} threads, {files} files")  # noqa: T201 - the figures
    assert last <= MOST_GROWTH * settled, f"resident MiB, from cycle {SETTLED} on: {figures}"
    assert all(len(each) == 1 for each in answers.values())
    assert threads < 40
    assert files < 60
    assert code == 0
