import pytest
from abuse import fair_shares, report


def test_a_greedy_client_starves_nobody(tmp_path):
    """Beside a client with 256 requests of 64 rows in flight, every polite call is answered."""
    shares = fair_shares.measure(tmp_path, rounds=1, seconds=1.5)

    assert shares.failures == {}
    assert shares.beside_greedy[0] > 0


@pytest.mark.abuse
@pytest.mark.timeout(300)
def test_polite_clients_keep_their_rate(tmp_path, request):
    """Beside a greedy client, polite ones get 80 % of the rate that they get beside another."""
    shares = fair_shares.measure(tmp_path, rounds=5, seconds=5)
    request.config.stash[report.SHARES] = shares

    assert shares.failures == {}
    assert shares.as_dict()["median_ratio"] >= fair_shares.LEAST_RATIO, shares.sentence()
