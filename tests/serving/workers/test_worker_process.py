"""Tests of which sockets a worker accepts connections on, with real sockets on one port."""

import asyncio
import socket

import pytest

from serving.settings.config import ServerConfig
from serving.transport.web import held_handshakes
from serving.workers.worker_process import WorkerProcess
from serving.workers.worker_sockets import WorkerSockets


@pytest.fixture
def workers():
    """Three workers that have loaded their models, and their sockets, which listen."""
    sockets = WorkerSockets.open(ServerConfig(workers=3, port=0, host="127.0.0.1"))
    sockets.listen()
    made = [WorkerProcess(number, sockets.of_workers) for number in (1, 2, 3)]
    for worker in made:
        worker.loaded = True
    yield made
    sockets.close()


def others(worker, workers):
    return [other for other in workers if other is not worker]


def end(worker, workers) -> None:
    """Let a worker's process end."""
    worker.stop_listening(others(worker, workers))


def load(worker, workers) -> None:
    """Let a worker's process have loaded its models, as the supervisor does."""
    worker.loaded = True
    worker.listen_again(others(worker, workers))


def waiting(worker) -> int:
    """Accept the connections that wait for a worker, and return their number."""
    (listener,) = worker.sockets.rpc
    listener.setblocking(False)
    count = 0
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


@pytest.mark.parametrize("ended_while_starting", [(), (0,), (2,), (2, 0, 2), (1,)])
@pytest.mark.parametrize("first", [0, 1, 2])
def test_the_first_worker_that_comes_back_gets_all_that_wait(workers, first, ended_while_starting):
    """Connections wait for the worker that ended last, even if processes end while they start."""
    for place in (0, 2, 1):
        end(workers[place], workers)
    address = workers[1].sockets.rpc[0].getsockname()
    clients = [socket.create_connection(address, timeout=5) for _ in range(8)]
    for place in ended_while_starting:
        end(workers[place], workers)

    load(workers[first], workers)

    assert waiting(workers[first]) == len(clients)
    clients += [socket.create_connection(address, timeout=5) for _ in range(8)]
    assert waiting(workers[first]) == 8
    for worker in others(workers[first], workers):
        load(worker, workers)
    clients += [socket.create_connection(address, timeout=5) for _ in range(60)]
    shares = [waiting(worker) for worker in workers]
    assert sum(shares) == 60
    assert min(shares) > 0
    assert sorted(worker.place for worker in workers) == [0, 1, 2]
    for client in clients:
        client.close()


def test_a_worker_that_ends_gives_nothing_away(workers):
    """While others are loaded, new connections go to them; places stay as they are."""
    end(workers[0], workers)
    address = workers[1].sockets.rpc[0].getsockname()
    clients = [socket.create_connection(address, timeout=5) for _ in range(20)]

    assert waiting(workers[1]) + waiting(workers[2]) == 20
    end(workers[0], workers)
    load(workers[0], workers)
    assert [worker.place for worker in workers] == [0, 1, 2]
    clients += [socket.create_connection(address, timeout=5) for _ in range(60)]
    assert min(waiting(worker) for worker in workers) > 0
    for client in clients:
        client.close()


def test_a_worker_that_drains_gets_no_more_connections(workers):
    """Nothing is turned away on its sockets afterwards; the last worker keeps listening."""
    first, *rest = workers
    address = first.sockets.rpc[0].getsockname()

    held_handshakes.turn_away(first.sockets.rpc)
    held_handshakes.turn_away(rest[1].sockets.rpc)
    asyncio.run(first.leave(rest))
    held_handshakes.release(rest[1].sockets.rpc)
    clients = [socket.create_connection(address, timeout=5) for _ in range(30)]

    assert first.leaving
    assert not first.loaded
    assert waiting(rest[0]) + waiting(rest[1]) == 30
    for worker in rest:
        asyncio.run(worker.leave(others(worker, workers)))
    clients.append(socket.create_connection(address, timeout=5))
    assert [worker.holds_connections for worker in workers] == [False, False, True]
    assert waiting(rest[1]) == 1
    load(first, workers)
    clients.append(socket.create_connection(address, timeout=0.5))
    for client in clients:
        client.close()
