"""What the caller gets: headers with true figures, the `hypereal` block, errors in its own dialect."""

from __future__ import annotations

from typing import Final

from apps.core import headers
from apps.core.errors import GatewayError
from apps.core.money import json_amount
from apps.dialects.errors import render_error
from apps.gateway.call import Call, Message, Send
from apps.gateway.guard import CallerLeft
from apps.gateway.patience import Patience
from apps.ledger.idempotency import PastCall
from apps.ledger.operations import Pending, Settled

Header = tuple[bytes, bytes]

JSON: Final = (b"content-type", b"application/json")
EVENT_STREAM: Final = (b"content-type", b"text/event-stream; charset=utf-8")
NO_CACHE: Final = (b"cache-control", b"no-cache")
NO_BUFFERING: Final = (b"x-accel-buffering", b"no")
CLOSE: Final = (b"connection", b"close")
READER_STUCK_S: Final = 60.0
"""A caller that takes nothing for this long has abandoned its call."""


def request_headers(call: Call) -> list[Header]:
    """The request id, under both names that clients look for."""
    return id_headers(call.request_name)


def id_headers(request_name: str) -> list[Header]:
    name = request_name.encode()
    return [(headers.X_REQUEST_ID, name), (headers.REQUEST_ID, name)]


def hypereal_block(
    model_id: str, receipt: Settled | Pending | PastCall, *, is_estimated: bool, insurance: bytes = b""
) -> bytes:
    """The `hypereal` object: what the call cost, and the balance before and after that entry; then `insurance`.

    Of a settlement that is pending nobody knows yet what the balance will be before it: both are null. A repeat is
    told of the first call's entry, and that it is one.
    """
    marks = b',"estimated":true' if is_estimated else b""
    end = b""
    balances: tuple[int, int] | None = None
    if isinstance(receipt, Settled):
        balances = receipt.balance_before_micro, receipt.balance_after_micro
    elif isinstance(receipt, Pending):
        marks += b',"settlement":"pending"'
    else:
        balances, end = receipt.balances_micro, b',"replayed":true'
    if not isinstance(receipt, Pending) and receipt.absorbed_micro:
        marks += b',"absorbed":%s' % json_amount(receipt.absorbed_micro).encode()
    before, after = (b"null", b"null") if balances is None else (json_amount(micro).encode() for micro in balances)
    return b'{"billing":{"model":"%s","credits_charged":%s,"balance_before":%s,"balance_after":%s%s}%s%s}' % (
        model_id.encode(),
        json_amount(receipt.charge_micro).encode(),
        before,
        after,
        marks,
        insurance,
        end,
    )


async def send_reply(send: Send, *, status: int, head: list[Header], body: bytes) -> None:
    head.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send_patiently(send, {"type": "http.response.body", "body": body})


async def send_patiently(send: Send, message: Message) -> None:
    """Send the end of a reply, which a stuck reader must not hold up for ever: its slot is waited for.

    Raises: CallerLeft.
    """
    try:
        with Patience(READER_STUCK_S):
            await send(message)
    except TimeoutError:
        raise CallerLeft from None


async def send_error(
    send: Send, call: Call, error: GatewayError, *, extra: list[Header] | None = None, more: bool = False
) -> None:
    """Send an error in the caller's dialect. `more`: the caller is still sending; the end of the reply follows."""
    rendered = render_error(error, anthropic=call.is_anthropic, request_id=call.request_name)
    head = [*rendered.headers, *(extra or ()), (b"content-length", b"%d" % len(rendered.body))]
    await send({"type": "http.response.start", "status": rendered.status, "headers": head})
    body = b"" if call.method == "HEAD" else rendered.body
    await send({"type": "http.response.body", "body": body, "more_body": more})
