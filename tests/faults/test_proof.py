"""The checker can fail: each invariant is broken once, in what it is told, and it says which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from tests.faults.callers import Seen
from tests.faults.evidence import Evidence, Limit, Logged
from tests.faults.journal import Served
from tests.faults.proof import micro_of, prove
from tests.faults.wish import Wish
from tests.flows.endpoints import CHAT

ACCOUNT, KEY, REQUEST, TAG = "a" * 32, "b" * 32, "c" * 32, "t-1"
COST = micro_of(CHAT.model, input=1_000, output=400)


@dataclass(slots=True)
class Case:
    """A call that was served and billed in order, unless it is changed."""

    evidence: Evidence = field(default_factory=Evidence)
    oracle: dict[str, list[Served]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def violations(self, *, lost: bool = False) -> list[str]:
        return prove(evidence=self.evidence, problems=self.problems, oracle=self.oracle, seen=self.seen, lost=lost)

    def log(self, **changes: object) -> None:
        record = self.evidence.records[REQUEST]
        self.evidence.records[REQUEST] = replace(record, **changes)  # type: ignore[arg-type]

    def see(self, **changes: object) -> None:
        self.seen = [replace(self.seen[0], **changes)]  # type: ignore[arg-type]

    def serve(self, **changes: object) -> None:
        self.oracle = {TAG: [replace(self.oracle[TAG][0], **changes)]}  # type: ignore[arg-type]


@pytest.fixture
def case() -> Case:
    record = Logged(
        REQUEST, ACCOUNT, KEY, CHAT.model, TAG, "succeeded", COST, 0, False, 1_000, 0, 400, "chat"
    )  # fmt: skip
    return Case(
        Evidence(
            charges={REQUEST: [COST]}, records={REQUEST: record}, balances={ACCOUNT: (10 * COST, 0)},
            limits=[Limit(None, KEY, None, "lifetime", COST)],
            windows=[(ACCOUNT, f"key:{KEY}", "lifetime", COST)],
        ),
        {TAG: [Served(TAG, "chat", 1, 1_000, 400, None, f"tag={TAG}", 4, True, True)]},
        [Seen(Wish(TAG), CHAT, True, ACCOUNT, 200, f"req_{REQUEST}", charged_micro=COST, is_whole=True)],
    )  # fmt: skip


def test_a_call_in_order_violates_nothing(case: Case) -> None:
    assert case.violations() == []


def stolen(case: Case) -> None:
    case.evidence.charges[REQUEST] = [COST, COST]


def billed_twice(case: Case) -> None:
    other = "d" * 32
    case.evidence.charges[other] = [COST]
    case.evidence.records[other] = replace(case.evidence.records[REQUEST], request=other)


def never_billed(case: Case) -> None:
    case.evidence.charges.clear()
    case.log(charge_micro=0)


def billed_for_nothing(case: Case) -> None:
    case.oracle.clear()


def billed_for_a_refusal(case: Case) -> None:
    case.see(is_whole=False, status=503, code="store_unavailable")


def annulled_behind_its_callers_back(case: Case) -> None:
    case.evidence.corrections[REQUEST] = [COST]


def annulled_in_part(case: Case) -> None:
    billed_for_a_refusal(case)
    case.evidence.corrections[REQUEST] = [COST - 1]


def billed_otherwise_than_told(case: Case) -> None:
    case.see(charged_micro=COST - 1)


def billed_more_than_reported(case: Case) -> None:
    case.serve(output=399)


def estimated_too_high(case: Case) -> None:
    case.log(is_estimated=True, status="abandoned")
    case.serve(prompt=f"tag={TAG} words=10", said_parts=1)


def estimated_for_one_who_stayed(case: Case) -> None:
    case.log(is_estimated=True)


def overspent(case: Case) -> None:
    case.evidence.balances[ACCOUNT] = (-1, 0)


def held_for_ever(case: Case) -> None:
    case.evidence.balances[ACCOUNT] = (COST, COST)


def left_open(case: Case) -> None:
    case.evidence.open_holds = 1


def over_its_budget(case: Case) -> None:
    case.evidence.limits = [Limit(None, KEY, CHAT.model, "lifetime", COST - 1)]


def over_in_one_window(case: Case) -> None:
    case.evidence.limits = [Limit(ACCOUNT, None, None, "daily", COST)]
    case.evidence.windows += [(ACCOUNT, "account", "daily", COST), (ACCOUNT, "account", "daily", COST + 1)]


def missing_in_a_window(case: Case) -> None:
    case.evidence.windows = []


def changed_in_place(case: Case) -> None:
    case.evidence.changed = ["DELETE FROM ledger_entry"]


def told_by_the_ledger(case: Case) -> None:
    case.problems = ["account …: entry 2 follows entry 0"]


def answered_with_a_page(case: Case) -> None:
    case.see(is_well_formed=False)


BROKEN: dict[Callable[[Case], None], str] = {
    stolen: "I2",
    billed_twice: "I2",
    never_billed: "I3",
    billed_for_nothing: "I4",
    billed_for_a_refusal: "I4",
    annulled_behind_its_callers_back: "I4",
    annulled_in_part: "I4",
    billed_otherwise_than_told: "I3",
    billed_more_than_reported: "I4",
    estimated_too_high: "I4",
    estimated_for_one_who_stayed: "I4",
    overspent: "I5",
    held_for_ever: "I7",
    left_open: "I7",
    over_its_budget: "I6",
    over_in_one_window: "I6",
    missing_in_a_window: "I6",
    changed_in_place: "I8",
    told_by_the_ledger: "verify_ledger",
    answered_with_a_page: "I12",
}


@pytest.mark.parametrize(("breaks", "invariant"), BROKEN.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_broken_is_named(case: Case, breaks: Callable[[Case], None], invariant: str) -> None:
    breaks(case)
    assert any(violation.startswith(invariant) for violation in case.violations()), case.violations()


def test_a_call_that_died_with_its_process_may_go_unbilled(case: Case) -> None:
    never_billed(case)
    case.evidence.windows, case.evidence.limits = [], []
    case.see(is_whole=False, charged_micro=None)
    assert [violation[:2] for violation in case.violations()] == ["I3"]
    assert case.violations(lost=True) == []


def test_a_charge_that_was_annulled_is_none(case: Case) -> None:
    billed_for_a_refusal(case)
    case.evidence.corrections[REQUEST] = [COST]
    assert case.violations() == []
