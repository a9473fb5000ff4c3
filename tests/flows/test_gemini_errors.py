"""What Gemini refuses: whose mistake it is, and when to ask again, in the words of OpenAI's API."""

from __future__ import annotations

import json
from typing import Any

from tests.flows.conftest import AddUpstream
from tests.flows.endpoints import CHAT
from tests.flows.rig import Person, Reply
from tests.flows.test_chat_images import ASKED, GEMINI
from tests.flows.upstream import plain


def refused(alice: Person, add_upstream: AddUpstream, status: int, message: str, *details: dict[str, Any]) -> Reply:
    error = {"code": status, "message": message, "status": "SOME_STATUS", "details": list(details)}
    add_upstream(GEMINI, plain(json.dumps({"error": error}).encode(), status=status))
    reply = alice.call(CHAT.path, ASKED)
    alice.assert_paid_nothing()
    return reply


def test_a_callers_mistake_reaches_the_caller(alice: Person, add_upstream: AddUpstream) -> None:
    reply = refused(alice, add_upstream, 400, "Invalid value at 'generation_config.image_config'.")
    assert reply.refusal == (400, "invalid_request")
    assert reply.error["message"] == "Invalid value at 'generation_config.image_config'."


def test_a_wrong_credential_is_the_operators_though_its_status_is_400(alice: Person, add_upstream: AddUpstream) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    reply = refused(alice, add_upstream, 400, "API key not valid. Please pass a valid API key.", info)
    assert reply.refusal == (502, "upstream_error")
    assert "key" not in reply.error["message"]
    assert "check its credential" in alice.server.log


def test_a_prompt_that_is_too_long_says_so(alice: Person, add_upstream: AddUpstream) -> None:
    message = "The input token count (140000) exceeds the maximum number of tokens allowed (131072)."
    assert refused(alice, add_upstream, 400, message).refusal == (400, "context_length_exceeded")


def test_a_busy_provider_says_in_its_error_when_to_come_back(alice: Person, add_upstream: AddUpstream) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.07s"}
    reply = refused(alice, add_upstream, 429, "You exceeded your current quota.", info)
    assert (reply.refusal, reply.headers["retry-after"]) == ((503, "upstream_overloaded"), "34")
