"""The ledger's own connection: what its end costs, and how soon it is noticed, on each event loop."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
import uvloop
from psycopg import AsyncConnection

from apps.ledger.store.statements import Statements
from tests.faults.clusters import Cluster, own_cluster, server_programs

pytestmark = pytest.mark.skipif(server_programs() is None, reason="PostgreSQL's server programs are not installed")

NOTICED_WITHIN_S = 1.0
Run = Callable[[Awaitable[Any]], Any]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with own_cluster() as cluster:
        yield cluster


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield lambda work: runner.run(_as_coroutine(work))


async def _as_coroutine(work: Awaitable[Any]) -> Any:
    return await work


class Door:
    """A TCP door in front of a server that can be slammed: both sides get a reset."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._server_port = port
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._let_in, daemon=True).start()

    def _let_in(self) -> None:
        while True:
            try:
                inside, _ = self._listener.accept()
            except OSError:
                return
            outside = socket.create_connection(("127.0.0.1", self._server_port))
            self._sockets += [inside, outside]
            for one, other in ((inside, outside), (outside, inside)):
                threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    @staticmethod
    def _pass_on(one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65_536):
                other.sendall(data)
        except OSError:
            return

    def slam(self) -> None:
        for each in self._sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            each.shutdown(socket.SHUT_RD)  # wakes the thread that reads
            each.close()
        self._sockets.clear()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.slam()


@asynccontextmanager
async def statements(url: str) -> AsyncIterator[Statements]:
    connection = await AsyncConnection.connect(url, autocommit=True)
    asked = Statements(connection)
    await asked.prepare({"wait": "SELECT pg_sleep($1::float)::text", "one": "SELECT '1'"})
    try:
        yield asked
    finally:
        asked.close()
        await connection.close()


async def wait_long(asked: Statements) -> None:
    asked.ask("wait", "20")
    await asked.answers()


def test_a_connection_that_ends_between_round_trips_costs_nothing_and_is_known(run: Run, cluster: Cluster) -> None:
    async def idle() -> None:
        async with statements(cluster.url()) as asked:
            asked.ask("one")
            assert await asked.answers() == [b"1"]
            await asyncio.to_thread(cluster.stop, "immediate")
            began = time.process_time()
            await asyncio.sleep(0.3)
            assert time.process_time() - began < 0.1
            assert asked.is_lost
            with pytest.raises(psycopg.OperationalError):
                asked.ask("one")
        await asyncio.to_thread(cluster.start)

    run(idle())


def test_a_server_that_crashes_within_a_round_trip_is_noticed(run: Run, cluster: Cluster) -> None:
    async def crash() -> None:
        async with statements(cluster.url()) as asked:
            asked.ask("wait", "20")
            answer = asyncio.ensure_future(asked.answers())
            await asyncio.sleep(0.1)
            await asyncio.to_thread(cluster.stop, "immediate")
            with pytest.raises(psycopg.OperationalError):
                await asyncio.wait_for(answer, NOTICED_WITHIN_S)
        await asyncio.to_thread(cluster.start)

    run(crash())


@pytest.mark.parametrize("is_idle", [True, False], ids=["before", "within"])
def test_a_reset_is_noticed_within_the_round_trip(run: Run, cluster: Cluster, is_idle: bool) -> None:
    door = Door(cluster.port)

    async def reset() -> None:
        async with statements(cluster.url(port=door.port)) as asked:
            answer = asyncio.ensure_future(wait_long(asked))
            if not is_idle:
                await asyncio.sleep(0.1)
            door.slam()
            with pytest.raises(psycopg.OperationalError):
                await asyncio.wait_for(answer, NOTICED_WITHIN_S)

    run(reset())
    door.close()
