"""Calls to CLI-only models: whether the official CLI makes them, and what follows where it does not.

Comes before everything that costs: nothing is translated, queued, held or sent before the verdict. Calls to all other
models pay one look into the catalog.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from apps.catalog.cache import ModelSnapshot
from apps.core import clock
from apps.core.errors import GatewayError, LimitFacts
from apps.dialects.protocol import Request
from apps.gateway.call import Call
from apps.gateway.patience import Patience
from apps.gateway.permit import check_call
from apps.gateway.stores import Stores
from apps.gateway.vetted import REPEAT_S, SEEN_S, UNLIKE_S, Written
from apps.keys.cli.evidence import evidence_of
from apps.keys.cli.sightings import digests, see
from apps.keys.cli.signs import Signs, read_signs
from apps.keys.cli.verdict import Finding, Verdict, judge, judge_head
from apps.keys.cli.violations import STRIKES, Consequence, Incident, Outcome, record_violation
from apps.keys.rules import Client, KeyRefused, KeySnapshot

logger = logging.getLogger(__name__)

T = TypeVar("T")
STORE_S: Final = 5.0


async def vet(call: Call, request: Request, *, key: KeySnapshot, client: Client, stores: Stores) -> None:
    """Let a call to a CLI-only model pass where it is the official CLI's, or where its operator only records.

    Raises: KeyRefused, NotFound; GatewayError, where the store is away: what is decided must be written down.
    """
    model = stores.catalog.get(request.model_id)
    if model is None or not model.cli_only:
        return
    # Who may not call it at all is told so, and judged for nothing.
    check_call(call, request, key=key, client=client, stores=stores)
    signs = signs_of(call, request)
    verdict = judge(signs, entrypoints=model.cli_entrypoints)
    if verdict.is_official:
        finding = await _look_back(signs, key, stores)
        if finding is None:
            return
        verdict = Verdict((finding,))
    await _act(call, signs, verdict, key=key, model=model, stores=stores)


def may_count_upstream(call: Call, request: Request, model: ModelSnapshot) -> bool:
    """Whether a request to count tokens may be handed on: for a CLI-only model, where its head is the CLI's. All others
    get our own count. It never counts against a key: genuine ones show too little to be judged."""
    return not model.cli_only or judge_head(signs_of(call, request), entrypoints=model.cli_entrypoints).is_official


def signs_of(call: Call, request: Request) -> Signs:
    return read_signs(
        call.headers,
        is_messages=call.dialect is not None and call.dialect.is_anthropic,
        query=call.query,
        fields=request.fields,
        is_stream=request.is_stream,
        max_tokens=request.max_tokens,
    )


async def _look_back(signs: Signs, key: KeySnapshot, stores: Stores) -> Finding | None:
    """What speaks against this device and session: a pool of accounts, a replay. None where nothing does."""
    user_id = signs.user_id
    assert user_id is not None  # of an official call
    about = (key.key_id, user_id.device, user_id.session)
    known = stores.vetted.sightings.get(about)
    if known is not None:
        return known[0]
    seen = partial(
        digests,
        key_id=key.key_id,
        account_id=key.account_id,
        device=user_id.device,
        session=user_id.session,
        pepper=stores.key_pepper,
    )
    finding = await _in_thread(lambda: see(seen(), now=clock.now()), stores)
    stores.vetted.sightings.keep(about, finding, seconds=SEEN_S if finding is None else UNLIKE_S)
    return finding


async def _act(
    call: Call, signs: Signs, verdict: Verdict, *, key: KeySnapshot, model: ModelSnapshot, stores: Stores
) -> None:
    """Write the violation down with what follows from it, and refuse the call, unless it is a dry run.

    Raises: KeyRefused; GatewayError, where the store is away.
    """
    account = stores.accounts.get(key.account_id)
    about = (key.key_id, model.model_id, tuple(finding.sign for finding in verdict.findings))
    known = stores.vetted.violations.get(about)
    # Snapshots are replaced when anything about them changes: then the same violation may have another consequence.
    if known is not None and known[0].is_of(key, account, model):
        consequence = Consequence.BLOCKED if model.enforces_cli else Consequence.RECORDED
        outcome = Outcome(known[0].violation_id, consequence)
    else:
        incident = Incident(
            request_id=call.request_id,
            key_id=key.key_id,
            model_id=model.model_id,
            verdict=verdict,
            evidence=evidence_of(call.headers, path=call.path, signs=signs, pepper=stores.key_pepper),
            is_dry_run=not model.enforces_cli,
        )
        outcome = await _in_thread(lambda: record_violation(incident, now=clock.now()), stores)
        if outcome.consequence in {Consequence.RECORDED, Consequence.BLOCKED}:
            written = Written(key, account, model, outcome.violation_id)
            stores.vetted.violations.keep(about, written, seconds=REPEAT_S)
        logger.warning("%s: %s call to %s: %s", call.request_name, verdict.kind, model.model_id, outcome.consequence)
    if outcome.consequence != Consequence.RECORDED:
        raise _refusal(verdict, outcome, model)


def _refusal(verdict: Verdict, outcome: Outcome, model: ModelSnapshot) -> KeyRefused:
    """What people read: which sign failed, what followed, what to do now."""
    refused = f"{model.model_id} is served to the official Claude Code CLI only. This call is not its: {verdict.words}."
    others = "Call the model with an up-to-date Claude Code, through no proxy that changes requests; every other model"
    advice = f"{others} is open to any client."
    facts = None
    if outcome.consequence == Consequence.SUSPENDED:
        which = "" if outcome.violation_id is None else f" to lift violation {outcome.violation_id}"
        refused = f"{refused} This API key is now suspended: ask your operator{which}."
    elif outcome.consequence == Consequence.STRUCK:
        left = STRIKES - outcome.strike
        refused = (
            f"{refused} This is strike {outcome.strike} of {STRIKES} in 24 hours:"
            f" after {left} more this API key is suspended."
        )
        facts = LimitFacts("cli_strikes", STRIKES, outcome.strike, outcome.resets_at)
    return KeyRefused("cli_only_model", f"{refused} {advice}", param="model", facts=facts)


async def _in_thread(work: Callable[[], T], stores: Stores) -> T:
    try:
        with Patience(STORE_S):
            return await stores.in_thread(work)
    except Exception:
        logger.exception("a call to a CLI-only model could not be judged")
        message = "Calls to this model cannot be checked right now. Try again shortly."
        raise GatewayError("store_unavailable", message) from None
