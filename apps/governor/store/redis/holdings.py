"""What this process has in Redis, slots and places, kept on a lease and told again to a Redis that has forgotten it.

Whatever is in Redis under this process's name and not named in a renewal is given back there. So every loss heals
within RENEW_S: of an answer, of a report, of all that Redis knew.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from apps.catalog.rules import Capacity
from apps.governor.store.memory import CallLater, Timer
from apps.governor.store.protocol import Ask
from apps.governor.store.redis.calls import Call, Path, told_limits
from apps.governor.store.redis.link import Link, LinkDown, Part
from apps.governor.store.redis.names import Names
from apps.governor.store.redis.scripts import Script, load_script

LEASE_S: Final = 3.0
"""As path.lua has it: two renewals may be lost before a process is taken for dead."""
RENEW_S: Final = 1.0
HEAL_S: Final = 1.25
"""As path.lua has it: by then every process has told a Redis that forgot; nobody who waits is served before."""
POLL_S: Final = 0.25
"""While a call waits: catches up with a message that was lost."""
MAX_OWED: Final = 10_000
"""Reports that could not be sent. Of older ones only the tokens' correction is lost: renewals give slots back."""

_RENEW: Final = load_script("renew")


class Holdings:
    """The books of one process: calls on their way, calls that wait, calls that have slots."""

    def __init__(
        self, link: Link, names: Names, *, process_id: uuid.UUID, call_later: CallLater, told_time: Callable[[], str]
    ) -> None:
        self.process, self.turns = process_id.hex, names.turns
        self.paths: dict[str, Path] = {}
        self.asked: dict[int, Call] = {}
        """On their way: whether Redis has heard of them is not known."""
        self.waiting: dict[int, Call] = {}
        self._link = link
        self._names = names
        self._call_later = call_later
        self._told_time = told_time
        self._owed: deque[tuple[Script, tuple[Part, ...], tuple[Part, ...]]] = deque(maxlen=MAX_OWED)
        self._renewal: Timer | None = None
        self._poll: Timer | None = None
        link.subscribe(f"{self.turns}{self.process}", self._on_turn)
        link.on_up.append(self.renew_all)

    def start(self) -> None:
        self._renewal = self._call_later(RENEW_S, self._renew_again)

    def stop(self) -> None:
        for timer in (self._renewal, self._poll):
            if timer is not None:
                timer.cancel()
        self._renewal = self._poll = None

    def path(self, model_id: str, capacity: Capacity) -> Path:
        path = self.paths.get(model_id)
        if path is None:
            base = self._names.model(model_id)
            path = self.paths[model_id] = Path(model_id, base, capacity, told_limits(capacity))
        else:
            path.follow(capacity)
            path.is_settled = False
        return path

    def adopt(self, number: int, ask: Ask) -> None:
        """A slot of this process that was given elsewhere, under a policy that need not be the model's."""
        path = self.paths.get(ask.model_id) or self.path(ask.model_id, ask.capacity)
        path.held[number] = 0

    def wait(self, call: Call) -> None:
        """The call waits. It is polled for until it is taken out of `waiting`."""
        call.turn = asyncio.get_running_loop().create_future()
        self.waiting[call.number] = call
        if call.has_turn:
            call.hand()
        if self._poll is None:
            self._poll = self._call_later(POLL_S, self._poll_again)

    def tell(self, script: Script, keys: tuple[Part, ...], args: tuple[Part, ...]) -> None:
        """Report, waiting for nothing: now, or once Redis is there again."""
        self._owed.append((script, keys, args))
        self._pay_up()

    def _pay_up(self) -> None:
        while self._owed and self._link.is_up:
            script, keys, args = self._owed.popleft()
            self._link.tell(script, keys, (self._told_time(), *args))

    def renew_all(self) -> None:
        """Renew the lease on each model where this process has anything, or had since it last said what."""
        self._pay_up()
        if not self._link.is_up:
            return
        busy = {call.path for calls in (self.asked, self.waiting) for call in calls.values()}
        for path in self.paths.values():
            has_any = bool(path.held) or path in busy
            if has_any or not path.is_settled:
                path.is_settled = not has_any
                self.renew(path)

    def renew(self, path: Path) -> None:
        asked = [number for number, call in self.asked.items() if call.path is path]
        held = [part for item in path.held.items() for part in item]
        waiting = [part for call in self.waiting.values() if call.path is path for part in call.told_place()]
        head = (self._told_time(), self.process, self.turns, path.capacity.concurrency, len(asked), len(path.held))
        renewed = self._link.call(_RENEW, (path.base,), (*head, *asked, *held, *waiting))
        renewed.add_done_callback(self._on_renewed)

    def _on_renewed(self, renewed: asyncio.Future[Any]) -> None:
        if not renewed.cancelled() and renewed.exception() is None:
            for number in renewed.result():
                self._hand(number)

    def _renew_again(self) -> None:
        self._renewal = self._call_later(RENEW_S, self._renew_again)
        self.renew_all()

    def _poll_again(self) -> None:
        """Catch up for those who wait; send them away where Redis is away."""
        self._poll = self._call_later(POLL_S, self._poll_again) if self.waiting else None
        self._pay_up()
        if self._link.is_up:
            for path in {call.path for call in self.waiting.values()}:
                self.renew(path)
        else:
            for call in self.waiting.values():
                call.end(LinkDown("Redis went away"))

    def _on_turn(self, message: bytes) -> None:
        self._hand(int(message.rpartition(b":")[2]))

    def _hand(self, number: int) -> None:
        call = self.waiting.get(number) or self.asked.get(number)
        if call is not None:
            call.hand()
