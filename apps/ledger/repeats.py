"""What becomes of a hold whose caller names an idempotency key. Pure; decided under the account's lock."""

from __future__ import annotations

from apps.ledger.idempotency import AlreadyServed, Claim, KnownCall
from apps.ledger.operations import Hold, HoldRefused, State, Writes


def answer_repeat(state: State, asked: Hold) -> HoldRefused | AlreadyServed | None:
    """None for the first call under its key, and for the next one after a call that failed."""
    if asked.idempotency is None:
        return None
    known = state.known_calls.get((asked.account_id, asked.idempotency.key))
    if known is None or known.request_id == asked.request_id:
        return None
    if known.body != asked.idempotency.body:
        message = "This Idempotency-Key was used for another request. Use a new one for each request."
        return HoldRefused("idempotency_mismatch", message)
    if known.is_running:
        message = "The first request with this Idempotency-Key is still running. Try again when it has ended."
        return HoldRefused("idempotency_in_progress", message)
    return None if known.past is None else AlreadyServed(known.past)


def claim_key(state: State, writes: Writes, asked: Hold) -> None:
    """The hold is granted: its key is this call's, also for those that follow in the same batch."""
    named = asked.idempotency
    if named is None:
        return
    writes.claims.append(Claim(asked.account_id, named.key, named.body, asked.request_id))
    state.known_calls[asked.account_id, named.key] = KnownCall(asked.request_id, named.body, is_running=True)
