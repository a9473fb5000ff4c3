"""C1: callers that leave a stream at each tenth of it, in all streaming protocols."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tests.faults.callers import Seen, call, http_session, new_tag
from tests.faults.evidence import Logged
from tests.faults.proof import micro_of
from tests.faults.rig import own_rig
from tests.faults.table import Row
from tests.faults.wish import Wish
from tests.flows.endpoints import ENDPOINTS, IMAGES, TEXT_ENDPOINTS, Endpoint
from tests.flows.rig import Person, eventually

RUNS: Final = 500
TENTHS: Final = 10
PARTS: Final = 20
WORDS: Final = 2_000
CALLERS: Final = 24
"""At once, of streams that end and of those that stall each: together about as many as two processes read on."""
STALLED: Final = 5
"""Every so many-th stream never ends: its call is estimated."""
QUIET_S: Final = 5.0
"""Within this after the last call no slot is taken (I11)."""
DRAINED_S: Final = 5.5
"""A stream that stalls is read on for so long: its place is taken until then."""
WRITTEN_S: Final = 60.0
SLOTS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Left:
    """One stream that its caller leaves."""

    endpoint: Endpoint
    wish: Wish
    after: int
    """Events."""


def run(scale: float = 1.0, *, is_embedded: bool = False) -> list[Row]:
    with own_rig(is_embedded=is_embedded) as rig:
        alice = rig.person("alice", credits=1_000_000)
        rig.operator.tell_server()
        streams = make_streams(max(len(ENDPOINTS) * TENTHS, round(RUNS * scale)))
        seen = asyncio.run(leave_all(alice, streams))
        eventually(lambda: len(alice.records(2 * len(streams))) == len(streams), timeout_s=WRITTEN_S)
        rig.wait_until_resolved()
        leaked = count_leaked_slots(alice)
        violations = rig.prove(seen)
        records = {record.tag: record for record in rig.evidence().records.values()}
        served = {tag: calls[0] for tag, calls in rig.oracle.calls().items()}
    never_charged = [one.wish.tag for one in seen if one.wish.tag not in records]
    violations += [f"C1: {tag} left no record" for tag in never_charged]
    violations += [f"I11: {leaked} slots leaked"] if leaked else []
    estimates = {tag: record for tag, record in records.items() if record.is_estimated}
    ratios = [
        record.charge_micro / micro_of(record.model, input=served[tag].input, output=served[tag].said)
        for tag, record in estimates.items()
    ]
    return [Row("C1 hang-up at each tenth of a stream", len(seen), violations, figures(records, ratios, leaked))]


def figures(records: dict[str, Logged], ratios: Sequence[float], leaked: int) -> str:
    ends = Counter((record.status, record.is_estimated) for record in records.values())
    exact = sum(count for (_, is_estimated), count in ends.items() if not is_estimated)
    # What was on its way when the gateway closed a stream, the oracle has sent and nobody has received.
    spread = f" (at {min(ratios):.3f} to {max(ratios):.3f} of what was sent)" if ratios else ""
    return f"{exact} billed what the oracle reported, {len(ratios)} estimated{spread}; {leaked} slots or holds leaked"


def make_streams(count: int) -> list[Left]:
    """Protocols and tenths in turn; now and then a stream that stalls after its caller left."""
    streams = []
    for number in range(count):
        endpoint, tenth = ENDPOINTS[number % len(ENDPOINTS)], number // len(ENDPOINTS) % TENTHS
        after = round(visible_events(endpoint) * tenth / TENTHS)
        wish = Wish(new_tag("left"), parts=PARTS, words=WORDS, gap_ms=8, padding=500)
        if endpoint in TEXT_ENDPOINTS and number % STALLED == 0:
            # A little later than the caller leaves, so that something is read on first.
            wish = Wish(wish.tag, parts=PARTS, words=WORDS, gap_ms=8, padding=500, stall_after=after + 3)
        streams.append(Left(endpoint, wish.counted(endpoint), after))
    return streams


def visible_events(endpoint: Endpoint) -> int:
    """What a caller sees before the end that is withheld."""
    return 3 if endpoint is IMAGES else PARTS + 1


async def leave_all(person: Person, streams: Sequence[Left]) -> list[Seen]:
    places = {is_stalling: asyncio.Semaphore(CALLERS) for is_stalling in (False, True)}
    async with http_session(keep_alive=False) as session:

        async def one(stream: Left) -> Seen:
            is_stalling = stream.wish.stall_after >= 0
            async with places[is_stalling]:
                seen = await call(
                    session, person, stream.endpoint, stream.wish, is_stream=True, leave_after=stream.after
                )
                await asyncio.sleep(DRAINED_S if is_stalling else 0.0)
                return seen

        return await asyncio.gather(*(one(stream) for stream in streams))


def count_leaked_slots(person: Person) -> int:
    """What a fresh call of each model finds taken beside itself, once all is quiet."""

    def taken() -> int:
        replies = [person.call(endpoint.path, endpoint.body(Wish(new_tag("slot")).prompt)) for endpoint in ENDPOINTS]
        return sum(
            SLOTS - 1 - int(reply.headers["x-hypereal-managed-model-concurrency-remaining"]) for reply in replies
        )

    try:
        eventually(lambda: taken() == 0, timeout_s=QUIET_S)
    except AssertionError:
        return taken()
    return 0
