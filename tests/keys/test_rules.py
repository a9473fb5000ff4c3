from __future__ import annotations

import ipaddress
import re
import uuid
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.keys.rules import (
    ALPHABET,
    Client,
    KeyRefused,
    KeySnapshot,
    check_key,
    check_model,
    digest,
    is_well_formed,
    last4,
    make_key,
)

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def key(**changes: Any) -> KeySnapshot:
    facts: dict[str, Any] = {
        "key_id": uuid.UUID(int=1),
        "account_id": uuid.UUID(int=2),
        "is_suspended": False,
        "expires_at": None,
        "allowed_models": frozenset(),
        "allowed_networks": (),
        "limit_micro": None,
        "daily_budget_micro": None,
        "hourly_budget_micro": None,
        "rpm_limit": None,
        "model_limits": {},
    }
    return KeySnapshot(**{**facts, **changes})


def client(**changes: Any) -> Client:
    facts: dict[str, Any] = {"address": "192.0.2.7", "user_agent": "curl/8"}
    return Client(**{**facts, **changes})


def networks(*names: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(name) for name in names)


def refusal_of(snapshot: KeySnapshot, caller: Client | None = None, *, now: datetime = NOON) -> str | None:
    try:
        check_key(snapshot, client=caller or client(), now=now)
    except KeyRefused as refused:
        return refused.code
    return None


def test_keys_have_one_shape_and_check_themselves() -> None:
    made = {make_key() for _ in range(200)}
    assert len(made) == 200
    for text in made:
        assert re.fullmatch(r"ck_[0-9A-Za-z]{42}", text)
        assert is_well_formed(text)
        assert last4(text) == text[-4:]


@given(st.integers(3, 44), st.sampled_from(ALPHABET))
def test_any_single_typo_is_noticed(place: int, wrong: str) -> None:
    right = "ck_" + "0" * 36
    right += _checksum_of(right)
    assert is_well_formed(right)
    if right[place] != wrong:
        assert not is_well_formed(right[:place] + wrong + right[place + 1 :])


def _checksum_of(head: str) -> str:
    """The last six digits of the key that begins so, found from outside: CRC-32 in base 62."""
    number, digits = zlib.crc32(head.removeprefix("ck_").encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = ALPHABET[digit] + digits
    return digits


@pytest.mark.parametrize("text", ["", "ck_", "sk-abc", "ck_" + "é" * 42, "ck_" + "0" * 42, " ", "ck_x\n"])
def test_what_is_no_key_is_noticed(text: str) -> None:
    assert not is_well_formed(text)


def test_two_keys_that_differ_by_a_line_break_are_not_one() -> None:
    made = make_key()
    assert not is_well_formed(made + "\n")
    assert not is_well_formed(" " + made)


def test_a_digest_needs_the_pepper() -> None:
    made = make_key()
    assert re.fullmatch(r"[0-9a-f]{64}", digest(made, pepper="salt"))
    assert digest(made, pepper="salt") == digest(made, pepper="salt") != digest(made, pepper="other")
    assert digest("ck_a", pepper="p") == "71f7aeaa8ed5a07be22bc3b4eda73635fbcda111969235dfb68a321565997973"


def test_a_plain_key_may_call() -> None:
    assert refusal_of(key()) is None


def test_suspension_comes_before_all_else() -> None:
    worn_out = key(is_suspended=True, expires_at=NOON, allowed_networks=networks("10.0.0.0/8"))
    assert refusal_of(worn_out) == "key_suspended"


def test_a_key_ends_at_its_instant() -> None:
    ending = key(expires_at=NOON)
    assert refusal_of(ending, now=NOON - timedelta(microseconds=1)) is None
    assert refusal_of(ending, now=NOON) == "key_expired"


@pytest.mark.parametrize(
    ("allowed", "address", "is_inside"),
    [
        (["192.0.2.0/24"], "192.0.2.7", True),
        (["192.0.2.7/32"], "192.0.2.7", True),
        (["192.0.2.0/24"], "192.0.3.7", False),
        (["10.0.0.0/8", "192.0.2.0/24"], "192.0.2.7", True),
        (["2001:db8::/32"], "2001:db8::1", True),
        (["2001:db8::/32"], "192.0.2.7", False),
        (["192.0.2.0/24"], "2001:db8::1", False),
        (["192.0.2.0/24"], "::ffff:192.0.2.7", True),
        (["192.0.2.0/24"], "not an address", False),
        (["192.0.2.0/24"], "", False),
    ],
)
def test_networks(allowed: list[str], address: str, is_inside: bool) -> None:
    bound = key(allowed_networks=networks(*allowed))
    assert refusal_of(bound, client(address=address)) == (None if is_inside else "ip_not_allowed")


def test_a_model_outside_the_scope_is_refused() -> None:
    check_model(key(), model_id="gpt-5-5")
    scoped = key(allowed_models=frozenset({"gpt-5-5"}))
    check_model(scoped, model_id="gpt-5-5")
    with pytest.raises(KeyRefused) as refused:
        check_model(scoped, model_id="kimi-latest")
    assert (refused.value.code, refused.value.param) == ("model_not_allowed", "model")
