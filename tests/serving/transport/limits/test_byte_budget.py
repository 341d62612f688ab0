import pytest

from serving.errors import InvalidInput, Unavailable
from serving.transport.limits.byte_budget import ByteBudget, Hold


def test_the_last_eighth_is_for_small_requests():
    """Large requests leave the last eighth of the byte budget to small ones."""
    budget = ByteBudget(8192)
    large, other, small = Hold(budget), Hold(budget), Hold(budget)
    large.take(4000)
    other.take(3168)
    with pytest.raises(Unavailable, match="requests in flight hold 7168 bytes of at most 8192"):
        other.take(1)
    small.take(8)
    with pytest.raises(Unavailable):
        small.take(1)

    assert budget.used == 7176


def test_a_request_alone_may_have_all_of_it():
    """A single request may have the whole budget; one byte more is INVALID_ARGUMENT.

    No retry could succeed.
    """
    budget = ByteBudget(8192)
    alone = Hold(budget)
    alone.take(8000)
    alone.take(192)
    with pytest.raises(
        InvalidInput, match="takes 8193 bytes with its decoded tensors, expected at"
    ):
        alone.take(1)
    alone.give_back(192)
    assert budget.used == 8000
    alone.release()

    assert budget.used == 0
