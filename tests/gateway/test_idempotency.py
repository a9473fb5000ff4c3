"""What a call calls itself: digests that say nothing, and tell one call from another."""

from __future__ import annotations

import pytest

from apps.dialects.registry import BY_ENDPOINT
from apps.gateway.idempotency import THREAD_BYTES, name_call
from apps.gateway.keeping import MAX_KEPT_BYTES, KeptStream, kept
from apps.ledger.idempotency import Idempotency
from tests.gateway.rig import DONE, Bench, chunk, head, usage_chunk


async def name(key: str = "k", body: bytes = b"{}", *, endpoint: str = "chat", pepper: str = "p") -> Idempotency:
    named = await name_call(head(idempotency_key=key), BY_ENDPOINT[endpoint], body, pepper=pepper)
    assert named is not None
    return named


async def test_a_call_without_a_key_has_no_name() -> None:
    assert await name_call(head(), BY_ENDPOINT["chat"], b"{}", pepper="p") is None


async def test_names_tell_keys_bodies_and_endpoints_apart() -> None:
    first = await name()
    assert first == await name()
    assert (await name("other")).key != first.key
    assert (await name("other")).body == first.body
    assert (await name(body=b"{} ")).body != first.body
    assert (await name(endpoint="messages")).body != first.body
    assert (await name(endpoint="messages")).key == first.key


async def test_names_say_nothing_without_the_installations_pepper() -> None:
    named, elsewhere = await name(), await name(pepper="q")
    assert named.key != elsewhere.key
    assert named.body != elsewhere.body
    assert {len(named.key), len(named.body)} == {64}


async def test_a_body_is_named_the_same_on_and_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    body = b"x" * (THREAD_BYTES + 1)
    named = await name(body=body)
    monkeypatch.setattr("apps.gateway.idempotency.THREAD_BYTES", len(body))
    assert await name(body=body) == named


def test_a_stream_is_kept_as_its_caller_gets_it() -> None:
    bench = Bench()
    machine = KeptStream(BY_ENDPOINT["chat"].relay(bench.request, model_id="gpt-5-5"))
    sent = b"".join(
        machine.feed(part) for part in (chunk("a"), chunk("b"), chunk(finish=True), usage_chunk(1, 2), DONE)
    )
    end = machine.finish(b'"@mark@"')
    assert end.count(b'"@mark@"') == 1
    assert machine.whole() == sent + end


def test_a_long_reply_is_not_kept() -> None:
    bench = Bench()
    machine = KeptStream(BY_ENDPOINT["chat"].relay(bench.request, model_id="gpt-5-5"))
    for _ in range(50):
        machine.feed(chunk("x" * 100_000))
    for part in (chunk(finish=True), usage_chunk(1, 2), DONE):
        machine.feed(part)
    assert b"{}" in machine.finish(b"{}")
    assert machine.whole() is None
    assert (kept(b"x" * MAX_KEPT_BYTES) is None, kept(b"x" * (MAX_KEPT_BYTES + 1))) == (False, None)
