import ipaddress

import pytest

from serving.access import caller, flow
from serving.access.caller import Identity
from serving.transport.limits.flows import Flows

PROXY = ("10.0.0.7", 5000)
CLIENT = ("192.0.2.1", 5000)
FLOWS = Flows([ipaddress.ip_network("10.0.0.0/8")])


def forwarded(value: str) -> dict[bytes, bytes]:
    return {b"x-forwarded-for": value.encode()}


@pytest.fixture
def with_key():
    """The call has a key named `trainer`."""
    token = caller.CURRENT.set(Identity(name="trainer", roles=frozenset()))
    yield
    caller.CURRENT.reset(token)


def test_a_connection_is_a_flow():
    """Without keys and proxies, each connection is a client; the flow is set for the task."""
    assert Flows().begin(CLIENT, forwarded("198.51.100.9")) == CLIENT
    assert flow.CURRENT.get() == CLIENT
    assert Flows().begin(None, {}) is None
    assert flow.CURRENT.get() is None


@pytest.mark.usefixtures("with_key")
@pytest.mark.parametrize("connection", [CLIENT, PROXY, None])
def test_a_key_is_a_flow(connection):
    """All calls with one key are one client's, whatever connection they come over."""
    assert FLOWS.begin(connection, forwarded("198.51.100.9")) == "trainer"


@pytest.mark.parametrize(
    ("header", "client"),
    [
        ("198.51.100.9", "198.51.100.9"),
        ("203.0.113.5, 198.51.100.9", "198.51.100.9"),  # the first one is only claimed
        ("198.51.100.9, 10.1.1.1", "198.51.100.9"),  # two trusted proxies
        ("2001:db8::1", "2001:db8::/64"),  # an IPv6 host may use its whole /64
        ("::ffff:198.51.100.9", "198.51.100.9"),
        ("198.51.100.9:1234", "198.51.100.9:1234"),
        ("unknown", "unknown"),
    ],
)
def test_a_trusted_proxy_tells_for_whom_it_calls(header, client):
    """The last address in x-forwarded-for that is no trusted proxy is the client."""
    assert FLOWS.begin(PROXY, forwarded(header)) == (client,)


@pytest.mark.parametrize("header", ["", " , ", "10.0.0.9"])
def test_a_proxy_that_names_no_client_is_a_client(header):
    """A trusted proxy's call for nobody belongs to the proxy's connection."""
    assert FLOWS.begin(PROXY, forwarded(header)) == PROXY
    assert FLOWS.begin(PROXY, {}) == PROXY


def test_others_are_not_believed():
    """A client that is no trusted proxy cannot choose its flow."""
    assert FLOWS.begin(CLIENT, forwarded("198.51.100.9")) == CLIENT
