"""Money moved by people: once per reference, never more than is available."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from apps.accounts.models import Account
from apps.core.money import MAX_MICRO, Credits
from apps.ledger import services
from apps.ledger.models import Balance, Entry
from apps.ledger.services import BadMovement, Movement, ReferenceReused
from apps.ledger.store import orm
from apps.ledger.verify import verify_ledger
from tests.ledger.contract import Payer, entries, purse

NOBODY = uuid.UUID(int=7)


def top_up(payer: Payer, micro: int, *, reference: str = "invoice 7") -> Movement:
    return services.top_up(account_id=payer.account_id, amount=Credits(micro), reference=reference, actor="operator")


def correct(payer: Payer, micro: int, *, reason: str = "counted twice", reference: str | None = None) -> Movement:
    return services.correct(
        account_id=payer.account_id,
        amount=Credits(micro),
        reason=reason,
        reference=f"case {micro}" if reference is None else reference,
        actor="operator",
    )


def test_a_new_account_has_a_balance_of_nothing(ledger_db: None) -> None:
    account = Account.objects.create(name="bob")
    assert Balance.objects.filter(account_id=account.id).values_list("balance_micro", "held_micro", "seq").get() == (
        0,
        0,
        0,
    )
    services.open_account(account_id=account.id)
    assert Balance.objects.count() == 1


def test_a_top_up_is_one_entry_from_cash(alice: Payer) -> None:
    moved = top_up(alice, 500)
    assert (moved.balance_before, moved.balance_after, moved.repeated) == (Credits(1_000), Credits(1_500), False)
    entry = Entry.objects.get(id=moved.entry_id)
    assert (entry.seq, entry.kind, entry.debit, entry.credit, entry.amount_micro) == (
        2,
        "top_up",
        "house:cash",
        "customer",
        500,
    )
    assert (entry.reference, entry.reason, entry.actor) == ("invoice 7", "", "operator")
    assert purse(alice) == (1_500, 0)


def test_the_same_reference_adds_once(alice: Payer) -> None:
    first = top_up(alice, 500)
    top_up(alice, 30, reference="invoice 8")
    again = top_up(alice, 500)
    assert again == Movement(first.entry_id, Credits(1_000), Credits(1_500), repeated=True, amount=Credits(500))
    assert purse(alice) == (1_530, 0)


def test_the_same_reference_for_another_amount_is_an_error(alice: Payer) -> None:
    top_up(alice, 500)
    with pytest.raises(ReferenceReused, match=r"'invoice 7' was used for 0\.0005 credits, not 0\.0006"):
        top_up(alice, 600)
    assert purse(alice) == (1_500, 0)


def test_a_reference_is_the_accounts_and_the_kinds_own(alice: Payer, charlie: Payer) -> None:
    top_up(alice, 500)
    assert not top_up(charlie, 600).repeated
    granted = services.grant(account_id=alice.account_id, amount=Credits(20), reference="invoice 7", actor="operator")
    assert (granted.balance_after, granted.repeated) == (Credits(1_520), False)
    assert Entry.objects.get(id=granted.entry_id).debit == "house:promotion"


def test_the_same_reference_from_many_at_once_is_one_entry(alice: Payer) -> None:
    def attempt(_: int) -> Movement:
        try:
            return top_up(alice, 500)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(max_workers=8) as pool:
        moved = list(pool.map(attempt, range(16)))
    assert len({movement.entry_id for movement in moved}) == 1
    assert [movement.repeated for movement in moved].count(False) == 1
    assert purse(alice) == (1_500, 0)
    assert verify_ledger().problems == []


@pytest.mark.parametrize(("micro", "why"), [(0, "must not be zero"), (-1, "must be more than zero")])
def test_a_top_up_must_be_more_than_nothing(alice: Payer, micro: int, why: str) -> None:
    with pytest.raises(BadMovement, match=why):
        top_up(alice, micro)
    assert len(entries(alice)) == 1


@pytest.mark.parametrize("reference", ["", "r" * 201])
def test_a_top_up_needs_a_reference_that_fits(alice: Payer, reference: str) -> None:
    with pytest.raises(BadMovement, match="reference of 1 to 200 characters"):
        top_up(alice, 5, reference=reference)
    with pytest.raises(BadMovement, match="reference of 1 to 200 characters"):
        services.grant(account_id=alice.account_id, amount=Credits(5), reference=reference, actor="operator")


def test_a_balance_stays_a_number_that_json_can_carry(alice: Payer) -> None:
    assert top_up(alice, MAX_MICRO - 1_000).balance_after == Credits(MAX_MICRO)
    with pytest.raises(BadMovement, match="the balance would exceed"):
        top_up(alice, 1, reference="invoice 8")


def test_an_unknown_account_has_nothing_to_move(ledger_db: None) -> None:
    with pytest.raises(BadMovement, match=f"there is no account {NOBODY}"):
        services.top_up(account_id=NOBODY, amount=Credits(5), reference="invoice 7", actor="operator")


def test_a_correction_gives_or_takes(alice: Payer) -> None:
    assert correct(alice, 70).balance_after == Credits(1_070)
    assert correct(alice, -170).balance_after == Credits(900)
    assert entries(alice)[1:] == [(2, "correction", 70, 1_000, 1_070), (3, "correction", 170, 1_070, 900)]
    sides = Entry.objects.filter(kind="correction").order_by("seq").values_list("debit", "credit", "reason", "actor")
    assert list(sides) == [
        ("house:adjustment", "customer", "counted twice", "operator"),
        ("customer", "house:adjustment", "counted twice", "operator"),
    ]
    assert verify_ledger().problems == []


def test_a_correction_takes_no_more_than_is_available(alice: Payer) -> None:
    orm.commit([alice.hold(400)])
    with pytest.raises(BadMovement, match=r"0\.000601 credits are more than the 0\.0006 that are available"):
        correct(alice, -601)
    assert correct(alice, -600).balance_after == Credits(400)
    assert purse(alice) == (400, 400)


@pytest.mark.parametrize("reason", ["", "  ", "r" * 301])
def test_a_correction_says_why(alice: Payer, reason: str) -> None:
    with pytest.raises(BadMovement, match="reason of 1 to 300 characters"):
        correct(alice, 5, reason=reason)
    with pytest.raises(BadMovement, match="must not be zero"):
        correct(alice, 0)
    assert len(entries(alice)) == 1
