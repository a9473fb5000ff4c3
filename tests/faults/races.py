"""M1, M2: credits or a budget for N calls, 10 N at once over two processes: N are served, and nothing is overspent.

Calls cost exactly what they hold, or a tenth of it: then whoever finds the money held must wait for it, not be refused.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from tests.faults.callers import Seen, call, http_session, new_tag
from tests.faults.proof import EXACT_PRICES
from tests.faults.rig import EXACT_MODEL, Rig, own_rig
from tests.faults.table import Row
from tests.faults.wish import Wish
from tests.flows.endpoints import TEXT_ENDPOINTS
from tests.flows.rig import Person

AFFORDABLE: Final = 6
CALLERS: Final = 10 * AFFORDABLE
MOST_TOKENS: Final = 100
CALL_CREDITS: Final = Decimal(MOST_TOKENS * EXACT_PRICES[EXACT_MODEL]) / 1_000_000
"""What a call holds, and what it costs at most."""
HOUR_S: Final = 3_600
RACE_S: Final = 45.0
"""More than one limit's repeats take."""
MONEY: Final = CALL_CREDITS * AFFORDABLE


@dataclass(frozen=True, slots=True)
class Limit:
    """What is short, and the refusal that says so."""

    name: str
    repeats: int
    code: str
    open: Callable[[Rig], Person]


def _balance(rig: Rig) -> Person:
    return rig.person("short", credits=str(MONEY))


def _account_daily(rig: Rig) -> Person:
    person = rig.person("daily")
    rig.operator.run("set_account", person.account_id, "--daily", MONEY)
    return person


def _key(*options: object) -> Callable[[Rig], Person]:
    return lambda rig: rig.person("limited", *options)


LIMITS: Final = (
    Limit("M1 balance", 50, "insufficient_credits", _balance),
    Limit("M2 account, daily", 10, "account_budget_exhausted", _account_daily),
    Limit("M2 key, lifetime", 10, "key_limit_exhausted", _key("--limit", MONEY)),
    Limit("M2 key, daily", 10, "key_budget_exhausted", _key("--daily", MONEY)),
    Limit("M2 key, hourly", 10, "key_budget_exhausted", _key("--hourly", MONEY)),
    Limit("M2 key and model", 10, "key_model_limit_exhausted", _key("--model-limit", f"{EXACT_MODEL}={MONEY}")),
)


@dataclass(slots=True)
class Race:
    """One limit's repeats."""

    served: Counter[int] = field(default_factory=Counter)
    """How often so many calls were served, of those that cost what they hold."""
    patient: Counter[int] = field(default_factory=Counter)
    """The same of those that cost a tenth of it."""
    seen: list[Seen] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)


def run(scale: float = 1.0, *, is_embedded: bool = False) -> list[Row]:
    random.seed(0)
    rows = []
    with own_rig(is_embedded=is_embedded) as rig:
        for limit in LIMITS:
            repeats = max(2, round(limit.repeats * scale))
            race = Race()
            people = [limit.open(rig) for _ in range(repeats)]
            rig.operator.tell_server()
            keep_clear_of_the_hours_end()
            for number, person in enumerate(people):
                asyncio.run(one_race(person, limit, race, is_dear=number % 2 == 0))
            rig.wait_until_resolved()
            race.violations += rig.prove(race.seen)
            rows.append(as_row(limit, race, repeats))
    return rows


def keep_clear_of_the_hours_end() -> None:
    """No budget window turns while a limit is raced for."""
    left_s = HOUR_S - time.time() % HOUR_S
    if left_s < RACE_S:
        time.sleep(left_s + 0.1)


async def one_race(person: Person, limit: Limit, race: Race, *, is_dear: bool) -> None:
    """Everybody at once, in all text protocols, streamed and not."""
    output = MOST_TOKENS if is_dear else MOST_TOKENS // 10

    async with http_session() as session:

        async def one(number: int) -> Seen:
            endpoint = TEXT_ENDPOINTS[number % len(TEXT_ENDPOINTS)]
            wish = Wish(new_tag("race"), output=output, gap_ms=random.choice((0, 1, 5)))
            return await call(
                session, person, endpoint, wish,
                is_stream=number % 2 == 0, model=EXACT_MODEL, **endpoint.at_most(MOST_TOKENS),
            )  # fmt: skip

        seen = await asyncio.gather(*(one(number) for number in range(CALLERS)))
    race.seen += seen
    judge(seen, limit, race, is_dear=is_dear)


def judge(seen: list[Seen], limit: Limit, race: Race, *, is_dear: bool) -> None:
    """N calls that cost what they hold, and not one more; of cheaper ones each that the money pays for, one by one."""
    outcomes = Counter(one.outcome for one in seen)
    served = outcomes.pop("served", 0)
    (race.served if is_dear else race.patient)[served] += 1
    # The last call needs its whole hold, though it will cost a tenth of it.
    expected = AFFORDABLE if is_dear else min(CALLERS, 10 * (AFFORDABLE - 1) + 1)
    if served != expected:
        race.violations.append(f"M: {limit.name} served {served} calls, not {expected}; refused: {dict(outcomes)}")
    unexpected = {code: count for code, count in outcomes.items() if code != limit.code}
    if unexpected:
        race.violations.append(f"M: {limit.name} refused otherwise than with {limit.code}: {unexpected}")


def as_row(limit: Limit, race: Race, repeats: int) -> Row:
    dear, cheap = sorted(race.served), sorted(race.patient)
    figures = (
        f"{CALLERS} callers on money for {AFFORDABLE}: {shown(dear)} served; at a tenth of the cost {shown(cheap)}"
    )
    return Row(limit.name, repeats, race.violations, figures)


def shown(counts: list[int]) -> str:
    return "–".join(str(count) for count in sorted({counts[0], counts[-1]})) if counts else "none"
