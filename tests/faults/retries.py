"""C4: storms of retries under one `Idempotency-Key` each, while processes die: one charge, one answer for everybody."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import aiohttp

from tests.faults.callers import Seen, any_call, call, http_session, new_tag
from tests.faults.installation import Process
from tests.faults.rig import Rig, own_rig
from tests.faults.table import Row
from tests.faults.wish import Wish
from tests.flows.rig import Person

KEYS: Final = 200
CALLERS: Final = 5
"""Per key, at once; one of them leaves in the middle and comes again."""
KEYS_AT_ONCE: Final = 20
PATIENCE_S: Final = 75.0
"""A call that died with its process keeps its key until its hold expires."""
AGAIN_S: Final = 0.2
MISMATCH: Final = 422
DEATHS: Final = ("F1:kill@4", "F4:kill@6", "F5:kill@5", "F6:kill@6")


def run(scale: float = 1.0, *, is_embedded: bool = False) -> list[Row]:
    keys = max(20, round(KEYS * scale))
    deaths = DEATHS if scale >= 1 else ()
    with own_rig(is_embedded=is_embedded) as rig:
        alice = rig.person("alice")
        rig.operator.tell_server()
        with dying(rig, deaths) as dead:
            groups, others = asyncio.run(storm(alice, keys))
        rig.wait_until_resolved()
        seen = [one for group in groups for one in group]
        violations = rig.prove([*seen, *others], lost=bool(deaths))
    violations += judge(groups, others)
    tries = Counter(one.outcome for one in others)
    figures = f"{len(seen)} callers of {keys} keys, {len(dead)} deaths: {keys} charges; another body: {dict(tries)}"
    return [Row("C4 retries under an Idempotency-Key", len(seen), violations, figures)]


async def storm(person: Person, keys: int) -> tuple[list[list[Seen]], list[Seen]]:
    """What each key's callers saw in the end; and those who came later with the same key and another body."""
    places = asyncio.Semaphore(KEYS_AT_ONCE)
    async with http_session(keep_alive=False) as session:

        async def one_key(number: int) -> tuple[list[Seen], Seen]:
            key, wish = new_tag("key"), Wish(new_tag("again"), parts=6, gap_ms=5 + number % 10)
            async with places:
                insistent = (
                    insist(session, person, number, key, wish, leaves=caller == 0) for caller in range(CALLERS)
                )
                group = await asyncio.gather(*insistent)
                other = await insist(session, person, number, key, Wish(new_tag("other")), leaves=False)
            return group, other

        done = await asyncio.gather(*(one_key(number) for number in range(keys)))
    return [group for group, _ in done], [other for _, other in done]


async def insist(
    session: aiohttp.ClientSession, person: Person, number: int, key: str, wish: Wish, *, leaves: bool
) -> Seen:
    """Try until there is an answer, or a refusal that stays, as SDKs do; or too long."""
    ends_at = time.monotonic() + PATIENCE_S
    while True:
        seen = await once(session, person, number, key, wish, leave_after=1 if leaves else None)
        if seen.is_whole or seen.status == MISMATCH or time.monotonic() > ends_at:
            return seen
        leaves = False
        await asyncio.sleep(AGAIN_S)


async def once(
    session: aiohttp.ClientSession, person: Person, number: int, key: str, wish: Wish, *, leave_after: int | None = None
) -> Seen:
    endpoint, is_stream = any_call(number)
    return await call(
        session, person, endpoint, wish,
        is_stream=is_stream, leave_after=leave_after, headers={"idempotency_key": key},
    )  # fmt: skip


@contextmanager
def dying(rig: Rig, deaths: Sequence[str]) -> Iterator[list[Process]]:
    """Those that died so far: one process after the other joins the sound ones and dies at its site."""
    is_over = threading.Event()
    dead: list[Process] = []

    def work() -> None:
        for failpoint in deaths:
            if is_over.wait(0.1):
                return
            doomed = rig.gateway.start_web(failpoint)
            while not doomed.has_ended and not is_over.wait(0.05):
                pass
            dead.extend([doomed] if doomed.has_ended else [])

    thread = threading.Thread(target=work, name="deaths")
    thread.start()
    try:
        yield dead
    finally:
        is_over.set()
        thread.join()


def judge(groups: Sequence[Sequence[Seen]], others: Sequence[Seen]) -> list[str]:
    found = []
    for group in groups:
        answers = {(one.outcome, one.request_id, one.charged_micro) for one in group}
        if len(answers) != 1 or not group[0].is_whole:
            found.append(f"C4: callers of one key got {answers}")
    found += [
        f"C4: another body under a key that was used got {one.outcome}"
        for one in others
        if (one.status, one.code) != (MISMATCH, "idempotency_mismatch")
    ]
    return found
