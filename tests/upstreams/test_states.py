"""Whose is what a provider keeps: found by the account that made it, until it expires, and by nobody else."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from apps.dialects.protocol import State
from apps.upstreams.models import StoredState
from apps.upstreams.states import KEPT_FOR, MAX_ITEMS, Kept, find, forget_expired, keep
from apps.upstreams.tasks import forget_states

pytestmark = pytest.mark.django_db

ALICE, CHARLIE = uuid.UUID(int=1), uuid.UUID(int=2)
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
REPLY, ITEM = State("response", "resp_1", "previous_response_id"), State("item", "msg_1", "input[0].id")


def test_an_account_finds_what_it_made() -> None:
    keep(ALICE, [REPLY, ITEM], route_key="route", tokens=1_500, now=NOW)
    assert find(ALICE, [REPLY, ITEM], now=NOW) == {REPLY: Kept("route", 1_500), ITEM: Kept("route", 1_500)}
    assert find(ALICE, [REPLY, State("item", "msg_2")], now=NOW) == {REPLY: Kept("route", 1_500)}
    assert find(CHARLIE, [REPLY, ITEM], now=NOW) == {}


def test_a_kind_is_part_of_the_name() -> None:
    keep(ALICE, [REPLY], route_key="route", tokens=1, now=NOW)
    assert find(ALICE, [State("item", "resp_1")], now=NOW) == {}


def test_two_accounts_may_be_given_the_same_id_by_two_providers() -> None:
    keep(ALICE, [REPLY], route_key="a", tokens=1, now=NOW)
    keep(CHARLIE, [REPLY], route_key="b", tokens=2, now=NOW)
    assert find(ALICE, [REPLY], now=NOW) == {REPLY: Kept("a", 1)}
    assert find(CHARLIE, [REPLY], now=NOW) == {REPLY: Kept("b", 2)}


def test_what_is_kept_twice_stays_as_it_was() -> None:
    keep(ALICE, [REPLY], route_key="a", tokens=1, now=NOW)
    keep(ALICE, [REPLY], route_key="b", tokens=2, now=NOW)
    assert find(ALICE, [REPLY], now=NOW) == {REPLY: Kept("a", 1)}


def test_no_id_is_stored_as_it_is_and_a_reply_has_only_so_many_items() -> None:
    keep(ALICE, [State("item", f"msg_{n}") for n in range(MAX_ITEMS + 50)], route_key="a", tokens=1, now=NOW)
    rows = StoredState.objects.all()
    assert len(rows) == MAX_ITEMS
    assert not any("msg_" in row.digest for row in rows)


def test_it_is_forgotten_when_its_provider_forgets_it() -> None:
    keep(ALICE, [REPLY], route_key="a", tokens=1, now=NOW)
    keep(ALICE, [ITEM], route_key="a", tokens=1, now=NOW + timedelta(hours=1))
    later = NOW + KEPT_FOR
    assert find(ALICE, [REPLY, ITEM], now=later) == {ITEM: Kept("a", 1)}
    assert forget_expired(later) == 1
    assert StoredState.objects.count() == 1


def test_the_sweep_runs_by_the_clock() -> None:
    keep(ALICE, [REPLY], route_key="a", tokens=1, now=datetime(2020, 1, 1, tzinfo=UTC))
    forget_states()
    assert StoredState.objects.count() == 0
