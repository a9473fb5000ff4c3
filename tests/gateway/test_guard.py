from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from apps.gateway import guard
from apps.gateway.call import Message
from apps.gateway.guard import BodyRefused, CallerLeft, check_length, read_body, throw_away_body
from tests.gateway.rig import head


class Body:
    """What a caller sends: parts, seconds of silence, and how it ends."""

    def __init__(self, *steps: bytes | float, ends: bool = True, hangs_up: bool = False) -> None:
        self.taken = 0
        self._messages = self._play(steps, ends=ends, hangs_up=hangs_up)

    def _play(self, steps: Iterable[bytes | float], *, ends: bool, hangs_up: bool) -> Iterable[Message | float]:
        for step in steps:
            yield step if isinstance(step, float) else {"type": "http.request", "body": step, "more_body": True}
        if ends:
            yield {"type": "http.request", "body": b"", "more_body": False}
        if hangs_up:
            yield {"type": "http.disconnect"}
        yield 1e9

    async def receive(self) -> Message:
        for step in self._messages:
            if isinstance(step, float):
                await asyncio.sleep(step)
            else:
                self.taken += len(step.get("body", b""))
                return step
        raise AssertionError("asked again after the end")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds of bytes and hundredths of seconds."""
    monkeypatch.setattr(guard, "MAX_BODY_BYTES", 100)
    monkeypatch.setattr(guard, "LINGER_BYTES", 200)
    monkeypatch.setattr(guard, "BODY_IDLE_S", 0.05)
    monkeypatch.setattr(guard, "BODY_S", 0.2)
    monkeypatch.setattr(guard, "LINGER_S", 0.1)


async def test_a_body_is_put_together() -> None:
    assert await read_body(head(), Body(b"a", b"b" * 50, 0.01, b"c").receive) == b"a" + b"b" * 50 + b"c"
    assert await read_body(head(), Body().receive) == b""


async def test_a_body_of_exactly_the_most_is_taken() -> None:
    assert len(await read_body(head(), Body(b"x" * 60, b"y" * 40).receive)) == 100


async def test_a_body_that_is_too_large_is_refused_at_once() -> None:
    body = Body(b"x" * 60, b"y" * 41, b"z" * 1_000)
    with pytest.raises(BodyRefused) as refused:
        await read_body(head(), body.receive)
    assert (refused.value.code, refused.value.status, body.taken) == ("body_too_large", 413, 101)


async def test_a_body_in_one_piece_is_measured_too() -> None:
    async def receive() -> Message:
        return {"type": "http.request", "body": b"x" * 101, "more_body": False}

    with pytest.raises(BodyRefused):
        await read_body(head(), receive)


async def test_a_body_that_stalls_is_refused() -> None:
    with pytest.raises(BodyRefused) as refused:
        await asyncio.wait_for(read_body(head(), Body(b"a", 10.0, b"b").receive), timeout=2)
    assert (refused.value.code, refused.value.status) == ("request_timeout", 408)


async def test_a_body_that_drips_is_refused_in_the_end() -> None:
    drops = [step for _ in range(90) for step in (b"x", 0.01)]
    with pytest.raises(BodyRefused) as refused:
        await asyncio.wait_for(read_body(head(), Body(*drops).receive), timeout=2)
    assert refused.value.code == "request_timeout"


async def test_a_caller_that_leaves_is_not_answered() -> None:
    with pytest.raises(CallerLeft):
        await read_body(head(), Body(b"half", ends=False, hangs_up=True).receive)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, None),
        ({"content_length": "100"}, None),
        ({"content_length": "101"}, "body_too_large"),
        ({"content_length": "9" * 5_000}, "body_too_large"),
        ({"content_encoding": "identity"}, None),
        ({"content_encoding": " Identity "}, None),
        ({"content_encoding": ""}, None),
        ({"content_encoding": "gzip"}, None),
        ({"content_encoding": "ZSTD"}, None),
        ({"content_encoding": "br"}, "unsupported_encoding"),
        ({"content_encoding": "identity, gzip"}, "unsupported_encoding"),
        ({"content_encoding": "zstd", "content_length": "101"}, "body_too_large"),
    ],
)
def test_heads_that_promise_no_good(headers: dict[str, str], code: str | None) -> None:
    call = head(**headers)
    if code is None:
        check_length(call)
        return
    with pytest.raises(BodyRefused) as refused:
        check_length(call)
    assert refused.value.code == code


async def test_what_is_thrown_away_is_bounded_in_bytes_and_time() -> None:
    flood = Body(*([b"x" * 50] * 100))
    await throw_away_body(flood.receive)
    assert flood.taken == 200
    await asyncio.wait_for(throw_away_body(Body(b"x", 10.0).receive), timeout=2)
    await throw_away_body(Body(b"x").receive)
    await throw_away_body(Body(ends=False, hangs_up=True).receive)
