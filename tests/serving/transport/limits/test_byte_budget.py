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


def test_each_client_finds_room_beside_a_greedy_one():
    """A client that holds all it may leaves seven eighths of the rest to the next one."""
    budget = ByteBudget(8192)
    greedy, polite, third = Hold(budget, "greedy"), Hold(budget, "polite"), Hold(budget, "third")
    greedy.take(7168)
    room = polite.room
    polite.take(room)
    with pytest.raises(Unavailable, match="hold 8064 bytes of at most 8192, those of this client"):
        polite.take(1)

    assert (room, third.room) == (896, 112)
    for hold in (greedy, polite):
        hold.release()
    assert (budget.used, budget.used_by_flow) == (0, {})
    assert third.room == 8192


def test_a_client_is_the_flow_of_its_requests():
    """Requests of one flow over several connections share what the flow may hold."""
    budget = ByteBudget(8192)
    holds = [Hold(budget, connection) for connection in range(3)]
    for hold in holds:
        hold.flow = "key"
    holds[0].take(4000)
    holds[1].take(3168)

    assert (holds[2].room, Hold(budget, 3).room) == (8, 896)
