"""What must hold after every fault: the invariants, checked against the oracle's journal and what callers saw.

I1 conservation, I7 holds, I9 chains    `verify_ledger`, and no hold left open
I2 no double charge                     one charge per request, one charged request per call of a caller, one payout
I3 no unbilled success                  a whole answer has one charge: what the oracle reported, what the bill says
I4 no charge on failure                 a charge has a completion, or is a marked estimate of a call that was left
I5 no overspend                         0 ≤ held ≤ balance
I6 no budget exceeded                   what was charged is within every limit
I8 immutability                         the database refuses to change entries
I12 protocol                            an error is well-formed and has a request id
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Final

from tests.faults.callers import Seen
from tests.faults.evidence import Evidence, Logged
from tests.faults.journal import Served
from tests.flows.bills import bill

MICRO: Final = 1_000_000
ESTIMATE_MARGIN: Final = Fraction(101, 100)
"""An estimate may be this much above what the oracle counted."""
EXACT_PRICES: Final = {"faults-exact": 1_000}
"""Microcredits per output token of models that only the fault tests have; their input costs nothing."""


def micro_of(model: str, *, input: int, output: int) -> int:
    """What these tokens cost, from the catalog, in exact fractions rounded up once."""
    if model in EXACT_PRICES:
        return output * EXACT_PRICES[model]
    return int(bill(model, input=input, output=output) * MICRO)


def prove(
    *,
    evidence: Evidence,
    problems: Sequence[str],
    oracle: Mapping[str, Sequence[Served]],
    seen: Iterable[Seen],
    lost: bool = False,
    went_back: bool = False,
) -> list[str]:
    """The violations. `problems` are those of `verify_ledger`. `lost`: processes were killed, so that a call may have
    been served upstream and, with its caller told nothing, not be billed. `went_back`: the store's clock did, and a
    window that was opened again may count too much."""
    seen = list(seen)
    by_tag = _records_by_tag(evidence)
    return [
        *(f"verify_ledger: {problem}" for problem in problems),
        *_at_rest(evidence),
        *_charged_once(evidence, by_tag),
        *_within_limits(evidence, went_back=went_back),
        *_windows_tell_the_charges(evidence, went_back=went_back),
        *_charges_have_completions(evidence, oracle),
        *(violation for one in seen for violation in _as_seen(one, evidence, oracle, by_tag)),
        *([] if lost else _completions_are_charged(seen, oracle, by_tag)),
    ]


def _records_by_tag(evidence: Evidence) -> dict[str, list[Logged]]:
    found: dict[str, list[Logged]] = {}
    for record in evidence.records.values():
        if record.tag:
            found.setdefault(record.tag, []).append(record)
    return found


def _at_rest(evidence: Evidence) -> list[str]:
    found = [f"I8: {statement} was not refused" for statement in evidence.changed]
    for account, (balance, held) in evidence.balances.items():
        if not 0 <= held <= balance:
            found.append(f"I5: account {account} has {balance} and holds {held}")
        if held:
            found.append(f"I7: account {account} still holds {held}")
    if evidence.open_holds:
        found.append(f"I7: {evidence.open_holds} holds are still open")
    return found


def _charged_once(evidence: Evidence, by_tag: Mapping[str, Sequence[Logged]]) -> list[str]:
    found = [
        f"I2: {request} has {len(amounts)} charges" for request, amounts in evidence.charges.items() if amounts[1:]
    ]
    for request, amounts in evidence.compensations.items():
        if amounts[1:] or sum(amounts) > sum(evidence.charges.get(request, [])):
            found.append(f"I2: insurance paid {amounts} for {request}")
    for tag, records in by_tag.items():
        charged = [record.request for record in records if record.charge_micro or record.absorbed_micro]
        if len(charged) > 1:
            found.append(f"I2: {tag} was charged under {charged}")
    return found


def _within_limits(evidence: Evidence, *, went_back: bool) -> list[str]:
    """A lifetime's limit against the charges themselves; a budget's against each of its windows."""
    found = []
    for limit in evidence.limits:
        charged = sum(record.charge_micro for record in evidence.records.values() if limit.counts(record))
        scope = "account" if limit.key is None else f"key:{limit.key}"
        windows = [
            micro
            for account, whose, period, micro in evidence.windows
            if (whose, period) == (scope, limit.period) and limit.account in {None, account}
        ]
        if limit.period == "lifetime":
            spent = [charged]
        elif went_back:
            spent = [charged // max(1, len(windows))]
        else:
            spent = windows
        found += [f"I6: {micro} of {limit} was spent" for micro in spent if micro > limit.micro]
    return found


def _windows_tell_the_charges(evidence: Evidence, *, went_back: bool) -> list[str]:
    """What all windows of a key's budget say together is what its calls were charged: none is left out or twice in."""
    spent: Counter[tuple[str, str]] = Counter()
    for _, scope, period, micro in evidence.windows:
        spent[scope, period] += micro
    charged = Counter[str]()
    for record in evidence.records.values():
        charged[f"key:{record.key}"] += record.charge_micro
    limited = {(f"key:{limit.key}", limit.period) for limit in evidence.limits if limit.key and limit.model is None}
    return [
        f"I6: the {period} windows of {scope} say {spent[scope, period]}, its charges {charged[scope]}"
        for scope, period in limited
        if spent[scope, period] != charged[scope] and not (went_back and spent[scope, period] > charged[scope])
    ]


def _charges_have_completions(evidence: Evidence, oracle: Mapping[str, Sequence[Served]]) -> list[str]:
    found = []
    for request in evidence.charges.keys() | evidence.absorbed.keys():
        record = evidence.records.get(request)
        if record is None:
            found.append(f"I4: {request} has a charge and no record")
            continue
        served = oracle.get(record.tag, ())
        cost = record.charge_micro + record.absorbed_micro
        if sum(evidence.charges.get(request, ())) != record.charge_micro:
            found.append(f"I1: {request} is charged otherwise than its record says")
        if record.is_estimated:
            costs = (micro_of(record.model, input=one.input, output=one.said) for one in served)
            most = ESTIMATE_MARGIN * max(costs, default=0)
            if record.status != "abandoned" or cost > most:
                found.append(
                    f"I4: {record.tag} is estimated at {cost}, {record.status}; the oracle counts {float(most)}"
                )
        elif not any(
            one.is_reported and cost == micro_of(record.model, input=one.input, output=one.output) for one in served
        ):
            found.append(f"I4: {record.tag} is charged {cost}, which the oracle did not report: {served}")
    return found


def _as_seen(
    one: Seen, evidence: Evidence, oracle: Mapping[str, Sequence[Served]], by_tag: Mapping[str, Sequence[Logged]]
) -> list[str]:
    tag = one.wish.tag
    charged = [record for record in by_tag.get(tag, ()) if record.charge_micro or record.absorbed_micro]
    found = [] if one.is_well_formed else [f"I12: {tag} got a malformed answer with status {one.status}"]
    found += [
        f"I4: {record.tag} was annulled, but its caller saw {one.outcome}"
        for record in charged
        if evidence.is_annulled(record.request) and one.code is None
    ]
    if one.is_whole:
        request = (one.request_id or "").removeprefix("req_")
        if len(evidence.charges.get(request, ())) + len(evidence.absorbed.get(request, ())) == 0:
            found.append(f"I3: {tag} ({one.request_id}) was answered and not charged")
        elif one.charged_micro != sum(evidence.charges.get(request, ())):
            found.append(f"I3: {tag} was told {one.charged_micro} and charged {evidence.charges.get(request)}")
        if not any(served.is_reported for served in oracle.get(tag, ())):
            found.append(f"I3: {tag} was answered, which the oracle knows nothing of")
    elif one.code is not None and not all(evidence.is_annulled(record.request) for record in charged):
        found.append(f"I4: {tag} was refused with {one.code} and charged {charged[0].charge_micro}")
    return found


def _completions_are_charged(
    seen: Sequence[Seen], oracle: Mapping[str, Sequence[Served]], by_tag: Mapping[str, Sequence[Logged]]
) -> list[str]:
    """Whoever was not told of a failure has been billed for what the upstream served."""
    found = []
    for one in seen:
        is_served = any(served.is_sent for served in oracle.get(one.wish.tag, ()))
        is_charged = any(record.charge_micro or record.absorbed_micro for record in by_tag.get(one.wish.tag, ()))
        if is_served and one.code is None and not is_charged:
            found.append(f"I3: {one.wish.tag} was served upstream and never charged; its caller saw {one.outcome}")
    return found
