import socket
import threading

import pytest

from serving.transport.web import held_handshakes


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def greet(listener: socket.socket, greeted: list[bytes]) -> threading.Thread:
    """Connect in a thread, send a greeting and keep the answer."""

    def run() -> None:
        with socket.create_connection(listener.getsockname(), timeout=30) as client:
            client.sendall(b"hello")
            greeted.append(client.recv(16))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def answer(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(connection.recv(16).upper())


def test_a_held_connection_is_answered_later(listener):
    """While connections are held back, none is accepted; afterwards all of them are answered."""
    greeted: list[bytes] = []
    with held_handshakes.hold([listener]):
        thread = greet(listener, greeted)
        listener.settimeout(0.3)
        with pytest.raises(TimeoutError):
            listener.accept()
    listener.settimeout(30)
    answer(listener)
    thread.join()

    assert greeted == [b"HELLO"]


def test_open_connections_go_on(listener):
    """A connection that is already accepted sends and receives while new ones are held back."""
    with socket.create_connection(listener.getsockname(), timeout=30) as client:
        connection, _ = listener.accept()
        with connection, held_handshakes.hold([listener]):
            client.sendall(b"hello")
            received = connection.recv(16)

    assert received == b"hello"


def test_release_ends_what_a_dead_process_began(listener):
    """A filter that was left behind is removed, and a socket without one is left alone."""
    held = held_handshakes.hold([listener])
    held.__enter__()
    held_handshakes.release([listener])
    held_handshakes.release([listener])
    greeted: list[bytes] = []
    thread = greet(listener, greeted)
    listener.settimeout(30)
    answer(listener)
    thread.join()

    assert greeted == [b"HELLO"]
