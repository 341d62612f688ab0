import threading

import numpy as np
import pytest
from running import servers

from serving.client import PredictClient
from serving.engine.runtime import Runtime
from serving.engine.servable import Servable
from serving.inference.predictor import Predictor

NEVER = threading.Event()
ONES = np.ones((1, 3), np.float32)


@pytest.mark.parametrize(
    ("place", "name"), [(Predictor, "servable"), (Runtime, "run")], ids=["event loop", "worker"]
)
def test_hangs(models_dir, monkeypatch, place, name):
    """The server's event loop, or the thread that runs a model, waits for ever."""
    monkeypatch.setattr(servers, "STOP_SECONDS", 0.5)
    with servers.in_this_process(models_dir) as address, PredictClient(address) as client:
        monkeypatch.setattr(place, name, lambda *_, **__: NEVER.wait())
        client.predict("identity", {"x": ONES}, timeout=1000)


def test_hangs_in_a_thread_that_python_waits_for(models_dir, monkeypatch):
    """A version loads for ever in the event loop's executor, whose threads Python joins at exit."""
    monkeypatch.setattr(servers, "STOP_SECONDS", 0.5)
    monkeypatch.setattr(Servable, "load", lambda *_, **__: NEVER.wait())
    with servers.in_this_process(models_dir):
        pass


def test_passes():
    """This test runs, although other tests hung before it."""
