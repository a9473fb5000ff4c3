"""Devices and sessions: a person at work passes for ever, pools and replays are told from them, also when they race."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from apps.accounts.models import Account
from apps.accounts.services import create_account
from apps.keys.cli.sightings import digests, forget_expired, see
from apps.keys.cli.verdict import Sign
from apps.keys.models import ApiKey, CliSighting
from apps.keys.services import issue_key
from tests.keys.cli.test_violations import together

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAY = timedelta(hours=24)


def key_of(account: Account) -> ApiKey:
    return issue_key(account_id=account.id, actor="root").row


@pytest.fixture
def alice() -> Account:
    return create_account(name="alice", actor="root")


@pytest.fixture
def charlie() -> Account:
    return create_account(name="charlie", actor="root")


@pytest.fixture
def key(alice: Account) -> ApiKey:
    return key_of(alice)


def sight(key: ApiKey, device: str, session: str, *, at: datetime = NOON) -> Sign | None:
    """The sign that fails, or None."""
    seen = digests(key_id=key.id, account_id=key.account_id, device=device, session=session, pepper="salt")
    finding = see(seen, now=at)
    return None if finding is None else finding.sign


def test_a_person_at_work_passes(key: ApiKey, alice: Account) -> None:
    another = key_of(alice)
    for hour in range(60):
        for device in ("laptop", "desktop", "server"):
            assert sight(key, device, f"{device} {hour}", at=NOON + timedelta(hours=hour)) is None
    assert sight(another, "laptop", "on another key of the account") is None


def test_the_fourth_device_on_a_key_within_a_day_is_a_pool(key: ApiKey) -> None:
    for hour, device in enumerate("abc"):
        assert sight(key, device, f"s{device}", at=NOON + timedelta(hours=hour)) is None
    late = NOON + timedelta(hours=23)
    assert sight(key, "d", "sd", at=late) is Sign.DEVICES
    assert sight(key, "d", "sd", at=late) is Sign.DEVICES
    assert [sight(key, device, f"t{device}", at=late) for device in "bc"] == [None, None]
    assert sight(key, "d", "sd", at=NOON + DAY) is None  # the first was not seen for a day


def test_a_device_belongs_to_one_account_at_a_time(key: ApiKey, charlie: Account) -> None:
    theirs = key_of(charlie)
    assert sight(key, "laptop", "one") is None
    assert sight(theirs, "laptop", "two", at=NOON + timedelta(hours=23)) is Sign.DEVICE_ACCOUNT
    assert sight(key, "laptop", "three", at=NOON + timedelta(hours=1)) is None
    assert sight(theirs, "laptop", "two", at=NOON + timedelta(hours=25)) is None
    assert sight(key, "laptop", "one", at=NOON + timedelta(hours=26)) is Sign.DEVICE_ACCOUNT


def test_a_session_stays_with_its_key_device_and_account(key: ApiKey, alice: Account, charlie: Account) -> None:
    assert sight(key, "laptop", "one") is None
    late = NOON + timedelta(days=29)
    assert sight(key, "desktop", "one", at=late) is Sign.REPLAY
    assert sight(key_of(alice), "laptop", "one", at=late) is Sign.REPLAY
    assert sight(key_of(charlie), "phone", "one", at=late) is Sign.SESSION_ACCOUNT
    assert sight(key, "laptop", "one", at=late) is None
    assert sight(key, "desktop", "one", at=late + timedelta(days=30)) is None


def test_what_contradicts_is_not_kept(key: ApiKey) -> None:
    sight(key, "laptop", "one")
    before = CliSighting.objects.count()
    sight(key, "desktop", "one")
    assert CliSighting.objects.count() == before == 3


def test_ids_are_kept_as_keyed_digests_only(key: ApiKey) -> None:
    device, session = "d" * 64, "5b0c1f5e-9f0e-4a55-8a54-0d1c6c0f6a11"
    sight(key, device, session)
    stored = repr(list(CliSighting.objects.values_list()))
    assert device not in stored
    assert session not in stored
    other = digests(key_id=key.id, account_id=key.account_id, device=device, session=session, pepper="other")
    assert not CliSighting.objects.filter(digest__in=[other.device, other.session, other.key_device]).exists()


def test_sightings_are_forgotten(key: ApiKey) -> None:
    sight(key, "laptop", "one")
    assert forget_expired(NOON + timedelta(hours=23)) == 0
    assert forget_expired(NOON + DAY) == 2
    assert forget_expired(NOON + timedelta(days=29)) == 0
    assert forget_expired(NOON + timedelta(days=30)) == 1
    assert not CliSighting.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_processes_that_race_keep_the_same_bounds() -> None:
    alice, charlie = create_account(name="alice", actor="root"), create_account(name="charlie", actor="root")
    key, theirs = key_of(alice), key_of(charlie)
    devices = together([partial(sight, key, f"d{number}", f"s{number}") for number in range(6)])
    assert sorted(str(found) for found in devices) == ["None"] * 3 + ["devices"] * 3
    same = together([partial(sight, one, "shared", f"of {one.id}") for one in (theirs, key_of(alice))])
    assert sorted(str(found) for found in same) == ["None", "device_account"]
    replayed = together([partial(sight, theirs, name, "one session") for name in ("x", "y", "z")])
    assert sorted(str(found) for found in replayed) == ["None", "replay", "replay"]
