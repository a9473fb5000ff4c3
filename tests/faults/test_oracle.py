"""The oracle does what its caller wished, and its journal says how far it got."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.faults.counting import count_tokens
from tests.faults.journal import OracleProcess, Served, own_oracle
from tests.faults.wish import Wish, parse_wish
from tests.flows.endpoints import CHAT, ENDPOINTS, MESSAGES, TEXT_ENDPOINTS, Endpoint
from tests.flows.rig import eventually, http

EACH = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OracleProcess]:
    with own_oracle(tmp_path_factory.mktemp("oracle")) as oracle:
        yield oracle


def ask(oracle: OracleProcess, endpoint: Endpoint, wish: Wish, *, is_stream: bool) -> httpx2.Response:
    body = {**endpoint.make_body(wish.prompt), **({"stream": True} if is_stream else {})}
    return http.post(f"{oracle.url}{endpoint.upstream_path}", json=body)


def told(oracle: OracleProcess, tag: str) -> Served:
    (served,) = oracle.calls()[tag]
    return served


def test_a_wish_survives_its_prompt() -> None:
    wish = Wish("t-1", input=7, parts=20, gap_ms=5, stall_after=3, padding=4)
    assert parse_wish(wish.prompt) == wish
    counted = wish.counted(CHAT)
    assert counted.input == count_tokens(counted.prompt, CHAT.name) + 3


@EACH
@pytest.mark.parametrize("is_stream", [False, True], ids=["plain", "streamed"])
def test_a_call_to_its_end_is_reported_and_sent(oracle: OracleProcess, endpoint: Endpoint, is_stream: bool) -> None:
    wish = Wish(f"whole-{endpoint.name}-{is_stream}", input=70, output=9)
    reply = ask(oracle, endpoint, wish, is_stream=is_stream)
    assert (reply.status_code, reply.headers["x-request-id"]) == (200, wish.tag)
    served = eventually(lambda: told(oracle, wish.tag) if told(oracle, wish.tag).is_sent else None)
    assert (served.endpoint, served.input, served.output, bool(served.is_stream), bool(served.is_reported)) == (
        endpoint.name,
        70,
        9,
        is_stream,
        True,
    )


@EACH
def test_a_call_that_was_cut_is_not_sent(oracle: OracleProcess, endpoint: Endpoint) -> None:
    wish = Wish(f"cut-{endpoint.name}", cut_after=1)
    with pytest.raises(httpx2.TransportError):
        ask(oracle, endpoint, wish, is_stream=True)
    assert not told(oracle, wish.tag).is_sent
    assert not told(oracle, wish.tag).is_reported


@pytest.mark.parametrize("endpoint", TEXT_ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_what_was_said_is_counted_part_by_part(oracle: OracleProcess, endpoint: Endpoint) -> None:
    whole = Wish(f"said-{endpoint.name}", words=100, parts=10)
    ask(oracle, endpoint, whole, is_stream=True)
    assert told(oracle, whole.tag).said == told(oracle, whole.tag).output == count_tokens(whole.text, endpoint.name)
    before = 3 if endpoint is MESSAGES else 1  # events before the first text
    half = Wish(f"half-{endpoint.name}", words=100, parts=10, cut_after=before + 5)
    with pytest.raises(httpx2.TransportError):
        ask(oracle, endpoint, half, is_stream=True)
    assert 0.4 < told(oracle, half.tag).said / told(oracle, whole.tag).said < 0.6


def test_a_failure_that_was_wished_is_no_service(oracle: OracleProcess) -> None:
    wish = Wish("failed", status=529)
    reply = ask(oracle, MESSAGES, wish, is_stream=False)
    assert (reply.status_code, json.loads(reply.content)["error"]["message"]) == (529, "as wished")
    assert not told(oracle, wish.tag).is_reported


def test_the_journal_outlives_its_writer(tmp_path: Path) -> None:
    with own_oracle(tmp_path) as oracle:
        ask(oracle, CHAT, Wish("kept"), is_stream=False)
    assert told(oracle, "kept").is_sent
