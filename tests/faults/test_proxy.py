"""The fault proxy does what it says to real connections."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.proxy import Behaviour, CutAtByte, Proxy, Verdict, own_proxy
from tests.flows.rig import eventually


class Echo:
    """Answers every line with itself in capitals, and keeps what it heard."""

    def __init__(self) -> None:
        self.heard = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(1_000):
                    self.heard += data
                    connection.sendall(data.upper())
            except OSError:
                return


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with own_proxy(echo.port) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        yield client


def ask(client: socket.socket, text: bytes) -> bytes:
    client.sendall(text)
    return client.recv(1_000)


def test_bytes_pass_both_ways(client: socket.socket) -> None:
    assert ask(client, b"hello") == b"HELLO"


def test_a_delay_is_each_ways(proxy: Proxy, client: socket.socket) -> None:
    proxy.behaviour = Behaviour(delay_s=0.1)
    began = time.monotonic()
    assert ask(client, b"hello") == b"HELLO"
    assert 0.2 <= time.monotonic() - began < 1


def test_a_reset_loses_what_was_sent(proxy: Proxy, client: socket.socket, echo: Echo) -> None:
    proxy.behaviour = Behaviour(to_server=lambda data: Verdict.RESET)
    with pytest.raises(ConnectionResetError):
        ask(client, b"hello")
    assert (echo.heard, proxy.resets) == (b"", 1)


def test_what_passed_before_a_reset_arrives_and_its_answer_does_not(
    proxy: Proxy, client: socket.socket, echo: Echo
) -> None:
    proxy.behaviour = Behaviour(to_server=lambda data: Verdict.PASS_THEN_RESET)
    with pytest.raises(ConnectionResetError):
        ask(client, b"hello")
    # The server's thread may read it after the client was cut.
    eventually(lambda: echo.heard == b"hello")


def test_a_black_hole_answers_nothing_and_stays_open(proxy: Proxy, client: socket.socket, echo: Echo) -> None:
    proxy.behaviour = Behaviour(to_server=lambda data: Verdict.PASS_THEN_SWALLOW)
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        ask(client, b"hello")
    assert echo.heard == b"hello"


def test_a_half_close_lets_the_answer_through(proxy: Proxy, client: socket.socket) -> None:
    proxy.behaviour = Behaviour(to_server=lambda data: Verdict.HALF_CLOSE)
    assert ask(client, b"hello") == b"HELLO"
    assert client.recv(1) == b""


def test_the_byte_that_is_one_too_many_cuts(proxy: Proxy, client: socket.socket, echo: Echo) -> None:
    proxy.behaviour = Behaviour(to_server=CutAtByte(7))
    assert ask(client, b"hello") == b"HELLO"
    with pytest.raises(ConnectionResetError):
        ask(client, b"you")
    assert echo.heard == b"hello"


def test_open_connections_are_cut_and_new_ones_refused(proxy: Proxy, client: socket.socket) -> None:
    assert ask(client, b"hello") == b"HELLO"
    proxy.reset_all()
    with pytest.raises(ConnectionResetError):
        ask(client, b"you")
    proxy.behaviour = Behaviour(refuses=True)
    # The reset may come while it is still connecting.
    with (
        pytest.raises(ConnectionResetError),
        socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as other,
    ):
        ask(other, b"hello")
