"""One web process: its socket, its limits, how it stops."""

from __future__ import annotations

import resource
import signal
import socket
import threading
import time
from dataclasses import replace

import pytest
import uvicorn

from hypereal import server
from hypereal.environment import Environment
from hypereal.http_protocol import MAX_CONNECTIONS, BoundedHttpProtocol
from tests.house.raw_http import Caller, served


def test_the_port_is_ours_from_the_first_moment() -> None:
    with server.bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(OSError, match="Address already in use"):
            server.bind("127.0.0.1", port)
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            pass  # waits in the backlog


def test_ipv6_is_served() -> None:
    with server.bind("::1", 0) as listener:
        assert listener.family == socket.AF_INET6


@pytest.mark.parametrize(
    ("soft", "connections"),
    [(resource.RLIM_INFINITY, MAX_CONNECTIONS), (256, 64), (100, 1), (1_000_000, MAX_CONNECTIONS)],
)
def test_connections_fit_in_the_file_limit(monkeypatch: pytest.MonkeyPatch, soft: int, connections: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, soft))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: None)
    assert server.connection_limit() == connections


def test_the_soft_file_limit_is_raised_to_what_is_useful(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 524_288))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: asked.append(limits))
    assert server.connection_limit() == MAX_CONNECTIONS
    assert asked == [(20_128, 524_288)]


def test_the_configuration(local_environment: Environment) -> None:
    config = server.configure(local_environment)
    assert isinstance(config.http, type)
    assert issubclass(config.http, BoundedHttpProtocol)
    assert (config.timeout_keep_alive, config.timeout_graceful_shutdown) == (75, 30)
    assert (config.access_log, config.server_header, config.proxy_headers) == (False, False, False)


def test_named_proxies_are_believed(local_environment: Environment) -> None:
    behind = replace(local_environment, trusted_proxies=("127.0.0.0/8",))
    with served(behind) as port, Caller(port) as caller:
        caller.send(b"GET /echo HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 127.0.0.1, 203.0.113.9\r\n\r\n")
        assert b'"client": "203.0.113.9"' in caller.reply()[2]


def test_replies_name_no_server(local_environment: Environment) -> None:
    with served(local_environment) as port, Caller(port) as caller:
        caller.send(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
        assert "server" not in caller.reply()[1]


def test_stopping_lets_an_open_stream_end(local_environment: Environment) -> None:
    received = b""
    with served(local_environment) as port:
        caller = Caller(port)
        caller.send(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        while b"event 1" not in received:
            received += caller.socket.recv(4096)
    received += caller.everything()
    caller.socket.close()
    assert received.endswith(b"the end\n\r\n0\r\n\r\n")


def test_stopping_closes_what_is_idle_at_once(local_environment: Environment) -> None:
    with served(local_environment) as port:
        caller = Caller(port)
        caller.send(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
        assert caller.reply()[0] == 200
        asked_at = time.monotonic()
    assert time.monotonic() - asked_at < 2
    assert caller.everything() == b""
    caller.socket.close()


def test_an_application_that_does_not_start_is_told_apart(local_environment: Environment) -> None:
    outcome: list[bool] = []

    def serve() -> None:
        listener = server.bind("127.0.0.1", 0)
        outcome.append(server.serve(local_environment, listener, application="tests.house.raw_http:missing"))
        listener.close()

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join(timeout=10)
    assert outcome == [False]


def test_a_second_ctrl_c_forces_and_a_second_term_does_not(local_environment: Environment) -> None:
    ours: uvicorn.Server = server.Server(server.configure(local_environment))
    ours.handle_exit(signal.SIGTERM, None)
    ours.handle_exit(signal.SIGTERM, None)
    assert (ours.should_exit, ours.force_exit) == (True, False)
    ours.handle_exit(signal.SIGINT, None)
    assert ours.force_exit
