"""Connections of a server that is asked to stop."""

from __future__ import annotations

import time

from hypereal.environment import Environment
from tests.house.raw_http import Caller, HastyProtocol, running

GET = b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"
SEEN_S = 0.25
"""By then the server has seen that it is to stop: it looks ten times a second."""


class PatientProtocol(HastyProtocol):
    head_s = 3.0


def test_a_first_request_that_is_on_its_way_is_the_last_of_its_connection(local_environment: Environment) -> None:
    with (
        running(local_environment, protocol=PatientProtocol) as (server, port),
        Caller(port) as fresh,
        Caller(port) as half_way,
    ):
        half_way.send(GET[:10])
        time.sleep(0.05)
        server.should_exit = True
        time.sleep(SEEN_S)
        fresh.send(GET)
        half_way.send(GET[10:])
        for caller in (fresh, half_way):
            status, headers, _ = caller.reply()
            assert (status, headers["connection"]) == (200, "close")
            assert caller.everything() == b""


def test_a_connection_that_asks_nothing_does_not_hold_up_the_end(local_environment: Environment) -> None:
    with running(local_environment) as (server, port), Caller(port) as silent:
        time.sleep(0.05)
        began = time.monotonic()
        server.should_exit = True
        assert silent.everything() == b""
        assert HastyProtocol.leave_s <= time.monotonic() - began < HastyProtocol.leave_s + 1


def test_an_idle_connection_is_closed_at_once(local_environment: Environment) -> None:
    with running(local_environment) as (server, port), Caller(port) as idle:
        idle.send(GET)
        assert idle.reply()[0] == 200
        began = time.monotonic()
        server.should_exit = True
        assert idle.everything() == b""
        assert time.monotonic() - began < HastyProtocol.leave_s
