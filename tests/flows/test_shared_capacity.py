"""Slots and a queue that two processes of `make run` share: what the upstream sees, what callers get, what is left."""

from __future__ import annotations

import asyncio
import re
import statistics
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import psutil
import pytest
import redis

from tests.flows.conftest import own_stores
from tests.flows.endpoints import CHAT
from tests.flows.raw_socket import Connection
from tests.flows.rig import CALL_TIMEOUT_S, Operator, Person, Server, eventually
from tests.flows.upstream import Answer, Received, ScriptedUpstream, Step, plain

SLOTS: Final = 8
PLACES: Final = 16
CALLERS: Final = 100
CALL_S: Final = 0.3
ACCOUNTS: Final = 4


@dataclass
class Counted:
    """An upstream that knows how many calls it had at once. `free`: how many may still end."""

    most: int = 0
    open: int = 0
    numbers: list[int] = field(default_factory=list)
    """Of the calls, in the order they came."""
    free: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, received: Received) -> Answer:
        with self.lock:
            self.numbers.append(int(re.findall(rb"call (\d+)", received.body)[0]))
            self.open += 1
            self.most = max(self.most, self.open)
        whole = plain(CHAT.reply())
        return Answer(whole.status, whole.headers, self._steps(whole))  # type: ignore[arg-type]  # made as it is sent

    def _steps(self, whole: Answer) -> Iterator[Step]:
        try:
            yield CALL_S
            while not self.free.acquire(blocking=False):
                yield 0.005
        finally:  # before its last byte, or when whoever asked hung up: nothing may overlap that did not
            with self.lock:
                self.open -= 1
        yield from whole.steps


@dataclass
class Crowd:
    """An installation whose one model has few slots and a short queue."""

    server: Server
    people: list[Person]
    redis: Any
    script: Any
    upstream: Counted = field(default_factory=Counted)

    def figures(self) -> tuple[int, int]:
        """Calls in flight and calls that wait, of all processes, as Redis has them."""
        base = f"hypereal:{{model:{CHAT.model}}}"
        return self.redis.hlen(f"{base}:slots"), self.redis.zcard(f"{base}:queue")

    def processes(self) -> list[psutil.Process]:
        children = psutil.Process(self.server.pid).children()
        return [one for one in children if one.status() != psutil.STATUS_ZOMBIE and "web" in one.cmdline()]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, scripted: ScriptedUpstream) -> Iterator[Crowd]:
    with own_stores("crowd") as stores:
        if not stores:
            pytest.skip("one process alone: tests/flows/test_limits.py")
        server = Server(tmp_path_factory.mktemp("crowd"), stores, module="hypereal.run")
        server.environ["HYPEREAL_WORKERS"] = "2"
        server.start()
        operator = Operator(server)
        try:
            script = scripted.script(Counted().answer)
            operator.run(
                "add_route", CHAT.model, "--provider", "scripted", "--dialect", CHAT.dialect,
                "--base-url", script.base_url + CHAT.base_path, "--upstream-model", "theirs",
            )  # fmt: skip
            figures = ("--concurrency", SLOTS, "--queue-length", PLACES, "--queue-seconds", 20)
            operator.run("set_policy", CHAT.model, *figures)
            people = [operator.person(f"caller {number}") for number in range(ACCOUNTS)]
            with redis.Redis.from_url(stores["REDIS_URL"]) as client:
                yield Crowd(server, people, client, script)
        finally:
            operator.close()
            server.stop()


@pytest.fixture
def crowd(installed: Crowd) -> Crowd:
    installed.upstream = Counted()
    installed.script.answer = installed.upstream.answer
    eventually(lambda: len(installed.processes()) == 2)
    eventually(lambda: installed.figures() == (0, 0))
    time.sleep(1.5)  # both processes have looked at routes, policies and people
    return installed


@dataclass(frozen=True)
class Came:
    number: int
    outcome: str
    """`served`, or the code of the refusal."""
    took_s: float


Sessions = Sequence[aiohttp.ClientSession]


@asynccontextmanager
async def sessions(crowd: Crowd) -> AsyncIterator[Sessions]:
    """One whose connections are all to the first process, and one to the second: they are made while the other sleeps.
    Left to itself, a machine with nothing else to do gives all of them to one."""
    async with AsyncExitStack() as held:
        made = []
        processes = crowd.processes()
        for asleep in reversed(processes):
            connector = aiohttp.TCPConnector(limit=CALLERS // 2, keepalive_timeout=60)
            timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
            http = await held.enter_async_context(aiohttp.ClientSession(connector=connector, timeout=timeout))
            asleep.suspend()
            try:
                await asyncio.gather(*(connect(http, crowd) for _ in range(CALLERS // 2)))
            finally:
                asleep.resume()
            made.append(http)
        yield made


async def connect(http: aiohttp.ClientSession, crowd: Crowd) -> None:
    async with http.get(f"{crowd.server.url}/readyz") as reply:
        await reply.read()


async def call(to: Sessions, crowd: Crowd, number: int) -> Came:
    person = crowd.people[number % ACCOUNTS]
    began = time.monotonic()
    url, body = f"{crowd.server.url}{CHAT.path}", CHAT.body(f"call {number}.")
    # Accounts come in turn too, each by both processes.
    async with to[number // ACCOUNTS % 2].post(url, json=body, headers=person.headers()) as reply:
        answer = await reply.json()
    outcome = "served" if reply.status == 200 else answer["error"]["code"]
    return Came(number, outcome, time.monotonic() - began)


async def until(look: Any) -> None:
    async with asyncio.timeout(10):
        while not look():  # noqa: ASYNC110  # what happens is in other processes
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("crowds", ["the first", "the second"])
async def test_a_crowd_gets_eight_slots_and_sixteen_places(crowd: Crowd, crowds: str) -> None:
    most_waiting = 0
    is_over = threading.Event()

    def watch() -> None:
        nonlocal most_waiting
        while not is_over.wait(0.002):
            most_waiting = max(most_waiting, crowd.figures()[1])

    crowd.upstream.free.release(CALLERS)
    with ThreadPoolExecutor(1) as watcher:
        watching = watcher.submit(watch)
        async with sessions(crowd) as http:
            came = await asyncio.gather(*(call(http, crowd, number) for number in range(CALLERS)))
        is_over.set()
        watching.result()
    outcomes = [each.outcome for each in came]
    assert set(outcomes) == {"served", "queue_full"}
    assert outcomes.count("served") >= SLOTS + PLACES
    assert (crowd.upstream.most, most_waiting) == (SLOTS, PLACES)
    eventually(lambda: crowd.figures() == (0, 0), timeout_s=5)
    shed_s = sorted(each.took_s for each in came if each.outcome == "queue_full")
    median_s = statistics.median(shed_s)
    print(f"{crowds}: {len(shed_s)} shed of {CALLERS} at once: median {median_s:.3f} s, last {shed_s[-1]:.3f} s")


async def test_who_comes_first_is_served_first_and_the_rest_hears_at_once(crowd: Crowd) -> None:
    async with sessions(crowd) as http:
        calls = []
        for number in range(SLOTS + PLACES):
            calls.append(asyncio.ensure_future(call(http, crowd, number)))
            await until(lambda number=number: sum(crowd.figures()) == number + 1)
        assert crowd.figures() == (SLOTS, PLACES)
        shed = [await call(http, crowd, SLOTS + PLACES + number) for number in range(100)]
        assert {each.outcome for each in shed} == {"queue_full"}
        for number in range(SLOTS, SLOTS + PLACES):
            crowd.upstream.free.release()
            await until(lambda number=number: len(crowd.upstream.numbers) == number + 1)
        crowd.upstream.free.release(SLOTS)
        assert {each.outcome for each in await asyncio.gather(*calls)} == {"served"}
    assert sorted(crowd.upstream.numbers[:SLOTS]) == list(range(SLOTS))
    assert crowd.upstream.numbers[SLOTS:] == list(range(SLOTS, SLOTS + PLACES))
    assert crowd.upstream.most == SLOTS
    took_s = sorted(each.took_s for each in shed)
    print(f"100 shed one by one: median {took_s[50] * 1000:.1f} ms, p99 {took_s[98] * 1000:.1f} ms")
    assert statistics.median(took_s) < 0.1
    eventually(lambda: crowd.figures() == (0, 0), timeout_s=5)


async def test_a_caller_that_hangs_up_frees_its_place_at_once(crowd: Crowd) -> None:
    async with sessions(crowd) as http:
        holding = [asyncio.ensure_future(call(http, crowd, number)) for number in range(SLOTS)]
        await until(lambda: crowd.figures()[0] == SLOTS)
        took_s = []
        for _ in range(10):
            with Connection(crowd.server.port) as connection:
                connection.post(CHAT.path, CHAT.body("call 99."), key=crowd.people[0].key)
                await until(lambda: crowd.figures()[1] == 1)
            left_at = time.monotonic()
            await until(lambda: crowd.figures()[1] == 0)
            took_s.append(time.monotonic() - left_at)
        crowd.upstream.free.release(SLOTS)
        assert {each.outcome for each in await asyncio.gather(*holding)} == {"served"}
    print(f"a place left: median {statistics.median(took_s) * 1000:.1f} ms, last {max(took_s) * 1000:.1f} ms")
    assert statistics.median(took_s) < 0.1
    assert 99 not in crowd.upstream.numbers


async def test_a_killed_process_keeps_neither_slots_nor_places(crowd: Crowd) -> None:
    async with sessions(crowd) as http:
        calls = [asyncio.ensure_future(call(http, crowd, number)) for number in range(SLOTS + PLACES)]
        await until(lambda: crowd.figures() == (SLOTS, PLACES))
        crowd.processes()[0].kill()
        killed_at = time.monotonic()
        await asyncio.wait(calls, timeout=0.5)
        lost = sum(each.done() for each in calls)
        crowd.upstream.free.release(CALLERS)
        ended = await asyncio.gather(*calls, return_exceptions=True)
    assert lost == len(calls) // 2
    assert [each.outcome for each in ended if isinstance(each, Came)] == ["served"] * (len(calls) - lost)
    eventually(lambda: crowd.figures() == (0, 0), timeout_s=killed_at + 5 - time.monotonic())
    print(f"{lost} calls lost; slots and queue empty {time.monotonic() - killed_at:.1f} s after the kill")
