"""Tests that restarts of replicas behind a balancer lose no call."""

import signal
import time

import pytest
from sample_models import tiny_models
from scale.balancers import ENVOY, HAPROXY, MISSING_ENVOY, MISSING_HAPROXY, envoy, haproxy
from scale.replicas import two_replicas
from scale.steady_calls import calling

pytestmark = [pytest.mark.scale, pytest.mark.timeout(600)]

RATE = 300
CALLS = 10_000
RESTARTS = 8
# The value that deploy/ names: more than the interval and the timeout of a health check.
LAME_DUCK = "--lame_duck_seconds=2"

BALANCERS = [
    pytest.param(envoy, marks=pytest.mark.skipif(not ENVOY.exists(), reason=MISSING_ENVOY)),
    pytest.param(haproxy, marks=pytest.mark.skipif(HAPROXY is None, reason=MISSING_HAPROXY)),
]


@pytest.fixture(scope="module")
def identity(tmp_path_factory):
    """A folder with the model `identity`."""
    folder = tmp_path_factory.mktemp("models")
    tiny_models.identity(folder)
    return folder


def restarted(balancer, models, folder, *flags, by=signal.SIGTERM, retries, restarts=RESTARTS):
    """Restart two replicas in turns under load; return the outcomes of at least CALLS calls."""
    with (
        two_replicas(models, *flags) as replicas,
        balancer([replica.ports for replica in replicas], folder, retries=retries) as address,
        calling(address, rate=RATE) as outcomes,
    ):
        time.sleep(1)
        for number in range(restarts):
            code = replicas[number % 2].restart(by)
            assert code == (0 if by is signal.SIGTERM else -by)
            time.sleep(2)  # the balancer sees that it is healthy again
        while restarts == RESTARTS and outcomes.calls < CALLS:
            time.sleep(0.1)
    print(f"{balancer.__name__}: {outcomes}")  # noqa: T201 - the figures of the test
    return outcomes


@pytest.mark.parametrize("balancer", BALANCERS)
def test_a_lame_duck_loses_no_call_without_retries(balancer, identity, tmp_path):
    """8 restarts by SIGTERM of two replicas: each of 10,000 calls is answered, and rightly."""
    outcomes = restarted(balancer, identity, tmp_path, LAME_DUCK, retries=False)

    assert outcomes.lost == {}
    assert outcomes.wrong == 0


@pytest.mark.parametrize("balancer", BALANCERS)
def test_calls_are_lost_without_a_lame_duck(balancer, identity, tmp_path):
    """The same without the lame duck loses calls; otherwise the test above proves nothing."""
    outcomes = restarted(balancer, identity, tmp_path, retries=False, restarts=4)

    assert outcomes.lost.total() > 0
    assert outcomes.wrong == 0


@pytest.mark.parametrize("balancer", BALANCERS[:1])
def test_kills_lose_no_call_with_retries(balancer, identity, tmp_path):
    """8 kills of replicas: Envoy sends the calls in flight again, so that each is answered."""
    outcomes = restarted(balancer, identity, tmp_path, by=signal.SIGKILL, retries=True)

    assert outcomes.lost == {}
    assert outcomes.wrong == 0
