"""K3, K4: tasks that come ten times at once, and in any order: what they tidy is tidied once; nothing waits for it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Final

from hypereal.schedule import SCHEDULE
from tests.faults.callers import Seen, any_text_stream, in_background, load, new_tag
from tests.faults.evidence import connect, gather, hex_id
from tests.faults.rig import Rig, own_rig
from tests.faults.table import Row
from tests.faults.wish import Wish
from tests.flows.endpoints import TEXT_ENDPOINTS
from tests.flows.rig import Operator, Person

REPEATS: Final = 10
AT_ONCE: Final = 3
"""Processes that run the same tasks."""
CLIENTS: Final = 6
GRANTED: Final = 5
GRANTS: Final = 4
LATER_S: Final = 3_600.0
"""The store's clock goes on by so much: an hour's windows are over, and grants have expired."""


def run(scale: float = 1.0) -> list[Row]:
    repeats = max(2, round(REPEATS * scale))
    seen: list[Seen] = []
    is_over = threading.Event()
    with own_rig(with_clock=True) as rig:
        assert rig.clock is not None
        alice = rig.person("alice", "--hourly", 1_000, "--daily", 1_000)
        insure(rig)
        idle = rig.person("idle", credits=0)
        grant(rig, idle)
        rig.operator.tell_server()

        async def calls() -> list[Seen]:
            return await load(
                alice, clients=CLIENTS, is_over=is_over.is_set, pick=any_text_stream, pause_s=0.02,
                wish=lambda number: Wish(new_tag("task"), gap_ms=number % 20),
            )  # fmt: skip

        with in_background(calls, is_over, seen):
            run_tasks(rig, repeats)
            rig.clock.move(LATER_S)
            run_tasks(rig, repeats)
        expired = count_expiries(rig, idle)
        rig.wait_until_resolved()
        rig.operator.run_task("insurance.pay_due")
        violations = rig.prove(seen)
        payouts = read_payouts(rig)
        left = idle.balance
    violations += [f"K4: {one.wish.tag} ended {one.outcome}" for one in seen if not one.is_whole]
    if (expired, left) != (GRANTS, 0):
        violations.append(f"K4: {GRANTS} grants expired {expired} times and leave {left} credits")
    violations += [
        f"K4: insurance owes {due} for {request}, and paid {paid}" for request, due, paid in payouts if due != paid
    ]
    if not payouts:
        violations.append("K4: no call was slow enough to be insured")
    runs = 2 * repeats * AT_ONCE * len(SCHEDULE)
    figures = (
        f"{AT_ONCE} processes with {len(SCHEDULE)} tasks each, {len(seen)} calls meanwhile: {expired} grants expired,"
        f" insurance paid {len(payouts)} times"
    )
    return [Row("K4 tasks repeated and reordered", runs, violations, figures)]


def insure(rig: Rig) -> None:
    """Every call that takes a millisecond is a slow one: tasks pay for all streams, among all that they tidy."""
    for endpoint in TEXT_ENDPOINTS:
        rig.operator.run(
            "set_policy", endpoint.model, "--insurance-threshold-ms", 0, "--insurance-ms-per-output-token", 0
        )


def read_payouts(rig: Rig) -> list[tuple[str, int, int]]:
    """Request, what insurance owes for it, what its entries paid."""
    with connect(rig.direct_stores(), rig.data_dir) as connection:
        owed = connection.execute("SELECT request_id, due_micro FROM usage_usagerecord WHERE due_micro > 0").fetchall()
        paid = gather(connection).compensations
    return [(hex_id(request), due, sum(paid.get(hex_id(request), []))) for request, due in owed]


def grant(rig: Rig, person: Person) -> None:
    expires = datetime.now(UTC) + timedelta(seconds=LATER_S / 2)
    for number in range(GRANTS):
        rig.operator.run(
            "grant", person.account_id, GRANTED, "--reference", f"gift {number}", "--expires", expires.isoformat()
        )


def run_tasks(rig: Rig, repeats: int) -> None:
    """Each process in an order of its own, all of them at the same time."""
    with ExitStack() as held:
        operators = [Operator(rig.gateway) for _ in range(AT_ONCE)]
        for operator in operators:
            held.callback(operator.close)
        failures: list[BaseException] = []
        threads = [
            threading.Thread(target=work, args=(operator, repeats, random.Random(number), failures))
            for number, operator in enumerate(operators)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        time.sleep(0.1)
    if failures:
        raise failures[0]


def work(operator: Operator, repeats: int, order: random.Random, failures: list[BaseException]) -> None:
    try:
        for _ in range(repeats):
            tasks: Sequence[str] = order.sample([job.task for job in SCHEDULE], len(SCHEDULE))
            for task in tasks:
                operator.run_task(task)
    except BaseException as failure:
        failures.append(failure)


def count_expiries(rig: Rig, person: Person) -> int:
    with connect(rig.direct_stores(), rig.data_dir) as connection:
        rows = connection.execute("SELECT account_id FROM ledger_entry WHERE kind = 'expiry'").fetchall()
    return sum(hex_id(account) == hex_id(person.account_id) for (account,) in rows)
