from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import cast

import pytest

from apps.core.errors import GatewayError
from apps.gateway import identify as identify_module
from apps.gateway.call import read_head
from apps.gateway.identify import Unidentified, identify, presented_key, read_client
from apps.gateway.stores import Stores
from apps.keys.rules import digest, make_key
from tests.gateway.rig import head


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer ck_1"},
        {"authorization": "bearer ck_1 "},
        {"authorization": "BEARER  ck_1"},
        {"x_api_key": "ck_1"},
        {"anthropic_api_key": " ck_1"},
        {"authorization": "Bearer ck_1", "x_api_key": "ck_1", "anthropic_api_key": "ck_1"},
        {"authorization": "Bearer ", "x_api_key": "ck_1"},
        {"authorization": "Basic abc", "x_api_key": "ck_1"},
        {"authorization": "Bearer ck_1", "x_api_key": ""},
    ],
)
def test_one_key_in_any_of_three_headers(headers: dict[str, str]) -> None:
    assert presented_key(head(**headers)) == "ck_1"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "ck_1"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"x_api_key": ""},
        {"authorization": "Bearer ck_1", "x_api_key": "ck_2"},
        {"x_api_key": "ck_1", "anthropic_api_key": "ck_2"},
    ],
)
def test_no_key_or_too_many(headers: dict[str, str]) -> None:
    with pytest.raises(Unidentified) as refused:
        presented_key(head(**headers))
    assert (refused.value.code, refused.value.status) == ("invalid_api_key", 401)


def test_the_same_header_twice_is_ambiguous() -> None:
    pair = (b"x-api-key", b"ck_1")
    scope = {"headers": [pair, pair], "path": "/v1/models", "method": "GET", "client": None}
    with pytest.raises(Unidentified):
        presented_key(read_head(scope, dialect=None))


def test_a_key_in_odd_bytes_is_none() -> None:
    assert presented_key(head(x_api_key=b"\xff\xfe")) == "ÿþ"


class Looking:
    """Keys that appear at the second look, or never, or not without a database."""

    def __init__(
        self, *, appears: dict[str, object] | None = None, failure: Exception | None = None, pause_s: float = 0.0
    ) -> None:
        self.known: dict[str, object] = {}
        self.looks = 0
        self._appears = appears or {}
        self._failure = failure
        self._pause_s = pause_s

    async def look_again(self) -> None:
        self.looks += 1
        await asyncio.sleep(self._pause_s)
        if self._failure is not None:
            raise self._failure
        self.known.update(self._appears)

    @property
    def stores(self) -> Stores:
        return cast(Stores, SimpleNamespace(keys=self.known, key_pepper="p", look_again=self.look_again))


async def test_a_key_that_was_issued_a_moment_ago_is_found() -> None:
    text, snapshot = make_key(), object()
    looking = Looking(appears={digest(text, pepper="p"): snapshot})
    assert await identify(head(x_api_key=text), looking.stores) is snapshot
    assert await identify(head(x_api_key=text), looking.stores) is snapshot
    assert looking.looks == 1


async def test_a_typo_costs_no_look() -> None:
    looking = Looking()
    with pytest.raises(Unidentified):
        await identify(head(x_api_key=make_key()[:-1] + "!"), looking.stores)
    assert looking.looks == 0


async def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(Unidentified):
        await identify(head(x_api_key=make_key()), Looking().stores)


async def test_without_a_database_nobody_is_called_unknown() -> None:
    looking = Looking(failure=OSError("connection refused"))
    with pytest.raises(GatewayError) as refused:
        await identify(head(x_api_key=make_key()), looking.stores)
    assert (refused.value.code, refused.value.status, refused.value.retry_after_s) == ("store_unavailable", 503, 2)


async def test_a_database_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identify_module, "LOOK_S", 0.1)
    looking = Looking(pause_s=30)
    began = time.monotonic()
    with pytest.raises(GatewayError) as refused:
        await identify(head(x_api_key=make_key()), looking.stores)
    assert (refused.value.code, time.monotonic() - began < 2) == ("store_unavailable", True)


def test_a_client_is_what_its_head_says() -> None:
    client = read_client(head(user_agent="curl/8"))
    assert (client.address, client.user_agent) == ("192.0.2.7", "curl/8")
