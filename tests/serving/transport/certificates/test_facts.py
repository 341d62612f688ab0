import time

import certificates
import pytest

from serving.errors import ConfigError
from serving.transport.certificates.facts import CertificateFacts
from serving.transport.tls import TlsConfig


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> certificates.Pair:
    """A certificate for `server`, valid for two days."""
    authority = certificates.Authority(tmp_path_factory.mktemp("certificates") / "authority")
    return authority.issue("server")


def test_the_facts_are_those_of_the_servers_own_certificate(pair):
    """Subject and expiry are read from the first certificate, not from the chain after it."""
    chain = pair.certificate + pair.certificate.replace("A", "B")
    facts = CertificateFacts.of(TlsConfig(certificate=chain.encode(), key=pair.key.encode()))

    assert facts.subject == "CN=server"
    assert 0 < facts.expires_at - time.time() < 2 * 86_400 + 60
    assert str(facts).startswith("CN=server, valid until 20")


def test_a_certificate_that_cannot_be_decoded_is_a_config_error():
    """A text that is no certificate is refused with a reason."""
    with pytest.raises(ConfigError, match="cannot be read"):
        CertificateFacts.of(TlsConfig(certificate=b"none", key=b""))
