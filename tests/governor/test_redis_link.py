"""The connection to Redis: every fault of a server becomes LinkDown, and it comes back by itself."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import hiredis
import pytest
import redis
import uvloop

from apps.governor.store.redis import link as links
from apps.governor.store.redis.link import Link, LinkDown
from apps.governor.store.redis.scripts import Script, load_script
from tests.faults.redis_server import RedisServer, has_redis, own_redis

pytestmark = pytest.mark.skipif(not has_redis(), reason="redis-server is not installed")


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with own_redis() as server:
        yield server


@pytest.fixture
def fresh(server: RedisServer) -> RedisServer:
    server.flush()
    return server


@asynccontextmanager
async def linked(url: str) -> AsyncIterator[Link]:
    link = Link(url)
    await link.start()
    try:
        yield link
    finally:
        await link.stop()


async def until(happened: Callable[[], object], *, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not happened():  # noqa: ASYNC110  # what happens is in another process
            await asyncio.sleep(0.01)


def script(text: str) -> Script:
    return Script("a test's", text.encode(), hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest().encode())


COUNT = script("return {ARGV[1], #KEYS, redis.call('INCR', KEYS[1])}")


async def test_what_is_asked_in_one_tick_is_answered_in_order(fresh: RedisServer) -> None:
    async with linked(fresh.url) as link:
        replies = await asyncio.gather(*(link.call(COUNT, ["n"], [number]) for number in range(500)))
    assert replies == [[str(number).encode(), 1, number + 1] for number in range(500)]


async def test_a_script_that_the_server_forgot_is_told_again(fresh: RedisServer) -> None:
    async with linked(fresh.url) as link:
        for expected in (1, 2):
            assert (await link.call(COUNT, ["n"], ["a"]))[2] == expected
        await link.command("SCRIPT", "FLUSH")
        replies = await asyncio.gather(*(link.call(COUNT, ["n"], ["a"]) for _ in range(3)))
        assert sorted(reply[2] for reply in replies) == [3, 4, 5]


async def test_nobody_needs_to_wait(fresh: RedisServer) -> None:
    async with linked(fresh.url) as link:
        await link.command("SCRIPT", "FLUSH")
        link.tell(COUNT, ["n"], [""])
        link.tell(COUNT, ["n"], [""])
        assert await link.command("GET", "n") is None  # both are told again, with their text
        assert await link.command("GET", "n") == b"2"


async def test_a_mistake_of_ours_is_told_and_breaks_nothing(
    fresh: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with linked(fresh.url) as link:
        broken = script("return redis.call('HGET', KEYS[1])")
        with pytest.raises(hiredis.ReplyError):
            await link.call(broken, ["n"], [])
        with caplog.at_level(logging.ERROR):
            for _ in range(3):
                link.tell(broken, ["n"], [])
            assert await link.command("PING") == b"PONG"
        assert caplog.text.count("nobody waited for") == 1


async def test_the_database_of_the_address_is_used(fresh: RedisServer) -> None:
    async with linked(fresh.url.removesuffix("/0") + "/3") as link:
        await link.command("SET", "n", "there")
    with redis.Redis.from_url(fresh.url.removesuffix("/0") + "/3") as client:
        assert client.get("n") == b"there"


async def test_it_starts_without_a_server_and_finds_it_later(fresh: RedisServer) -> None:
    told: list[str] = []
    fresh.kill()
    try:
        async with linked(fresh.url) as link:
            link.on_up.append(lambda: told.append("up"))
            assert not link.is_up
            with pytest.raises(LinkDown):
                await link.call(COUNT, ["n"], [""])
            fresh.start()
            await until(lambda: link.is_up)
            assert (await link.call(COUNT, ["n"], [""]))[2] == 1
            assert told == ["up"]
    finally:
        if not fresh.is_running:
            fresh.start()


async def test_a_restart_fails_what_is_on_its_way_and_is_told(fresh: RedisServer) -> None:
    heard: list[bytes] = []
    async with linked(fresh.url) as link:
        link.subscribe("news", heard.append)
        ups: list[int] = []
        link.on_up.append(lambda: ups.append(1))
        fresh.pause(10_000)
        waiting = link.call(COUNT, ["n"], [""])
        await asyncio.sleep(0)
        fresh.kill()
        with pytest.raises(LinkDown):
            await waiting
        await until(lambda: not link.is_up)
        fresh.start()
        await until(lambda: link.is_up)
        with redis.Redis.from_url(fresh.url) as client:
            await until(lambda: heard or not client.publish("news", "still here"))
        assert (heard[0], ups) == (b"still here", [1])


async def test_a_pause_is_noticed_within_the_deadline_and_its_end_too(fresh: RedisServer) -> None:
    async with linked(fresh.url) as link:
        assert await link.command("PING") == b"PONG"
        fresh.pause(700)
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        with pytest.raises(LinkDown):
            await link.call(COUNT, ["n"], [""])
        assert loop.time() - began_at < 0.6
        assert not link.is_up
        with pytest.raises(LinkDown):
            await link.call(COUNT, ["n"], [""])
        await until(lambda: link.is_up, seconds=5)
        # The first of them was carried out after all; nobody was told.
        assert (await link.call(COUNT, ["n"], [""]))[2] == 2


def test_a_process_that_stood_still_finds_its_reply(fresh: RedisServer) -> None:
    ours, theirs = socket.socketpair()

    def read_slowly() -> None:
        ours.recv(1)
        time.sleep(3 * links.DEADLINE_S)

    async def stand_still() -> None:
        async with linked(fresh.url) as link:
            # In the middle of reading, as where a large body is parsed: what came meanwhile is read after the timers.
            asyncio.get_running_loop().add_reader(ours, read_slowly)
            reply = link.command("BLPOP", "nothing", "0.05")
            await asyncio.sleep(0.01)
            theirs.send(b"!")
            assert await reply is None
            assert link.is_up
            asyncio.get_running_loop().remove_reader(ours)

    with ours, theirs, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(stand_still())


async def test_a_connection_that_hangs_is_made_anew(fresh: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "HANGING_S", 0.3)
    async with linked(fresh.url) as link:
        ups: list[int] = []
        link.on_up.append(lambda: ups.append(1))
        fresh.pause(1_000)
        with pytest.raises(LinkDown):
            await link.command("PING")
        await until(lambda: ups)
        assert await link.command("PING") == b"PONG"


@pytest.mark.parametrize(
    ("spoil", "mend"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
        (("ACL", "SETUSER", "default", "-set", "-incr"), ("ACL", "SETUSER", "default", "+@all")),
    ],
    ids=["full", "replica", "forbidden"],
)
async def test_a_server_that_cannot_serve_is_as_good_as_none(
    fresh: RedisServer, spoil: tuple[str, ...], mend: tuple[str, ...]
) -> None:
    ups: list[int] = []
    async with linked(fresh.url) as link:
        link.on_up.append(lambda: ups.append(1))
        with redis.Redis.from_url(fresh.url) as client:
            client.execute_command(*spoil)
            try:
                with pytest.raises(LinkDown):
                    await link.command("SET", "n", "x" * 1_000)
                await until(lambda: not link.is_up)
                await asyncio.sleep(0.3)
                assert not link.is_up, "it answers reads, and that is not enough"
            finally:
                client.execute_command(*mend)
        await until(lambda: link.is_up)
        assert (await link.command("SET", "n", "x"), ups) == (b"OK", [1])


async def test_a_listener_that_fails_keeps_nobody_from_hearing(fresh: RedisServer) -> None:
    told: list[str] = []
    link = Link(fresh.url)

    def fail() -> None:
        raise RuntimeError("a mistake of ours")

    link.on_up += [fail, lambda: told.append("up")]
    async with asyncio.timeout(5):
        await link.start()
    assert (link.is_up, told) == (True, ["up"])
    await link.stop()


async def test_there_is_a_bound_on_what_is_asked(fresh: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "MAX_PENDING", 3)
    async with linked(fresh.url) as link:
        asked = [link.command("PING") for _ in range(5)]
        replies = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(reply) for reply in replies] == [bytes, bytes, bytes, LinkDown, LinkDown]
        assert await link.command("PING") == b"PONG"


async def test_a_password_is_brought(fresh: RedisServer) -> None:
    with redis.Redis.from_url(fresh.url) as client:
        client.config_set("requirepass", "sesame")
        try:
            place = fresh.url.removeprefix("redis://")
            async with linked(f"redis://:sesame@{place}") as link:
                assert await link.command("PING") == b"PONG"
            async with linked(f"redis://:wrong@{place}") as link:
                assert not link.is_up
        finally:
            client.config_set("requirepass", "")


def test_scripts_are_put_together_from_files() -> None:
    probe = load_script("circuit_probe")
    assert probe.text.startswith(b"-- window.lua")
    assert (probe.text.count(b"local function read_circuit"), len(probe.sha)) == (1, 40)


async def test_it_is_up_only_once_everybody_was_told(fresh: RedisServer) -> None:
    ups: list[int] = []
    link = Link(fresh.url)
    link.on_up.append(lambda: ups.append(1))
    starting = asyncio.create_task(link.start())
    async with asyncio.timeout(5):
        while not link.is_up:  # noqa: ASYNC110  # every tick is looked at
            await asyncio.sleep(0)
    assert ups == [1]
    await starting
    await link.stop()
