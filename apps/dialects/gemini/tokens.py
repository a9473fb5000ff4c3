"""Log probabilities as chat and Responses list them.

Shape:  {"chosenCandidates": [{"token": "Hi", "logProbability": -0.1}], "topCandidates": [{"candidates": [{…}]}]}
        ->  [{"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": [{…}]}]
"""

from __future__ import annotations

from typing import Any

from apps.dialects.common.metering import members


def read_logprobs(result: object) -> list[dict[str, Any]] | None:
    chosen = members(result, "chosenCandidates")
    if not chosen:
        return None
    top = members(result, "topCandidates")
    tokens = []
    for index, candidate in enumerate(chosen):
        others = members(top[index], "candidates") if index < len(top) else []
        tokens.append({**_token(candidate), "top_logprobs": [_token(other) for other in others]})
    return tokens


def _token(candidate: object) -> dict[str, Any]:
    fields = candidate if isinstance(candidate, dict) else {}
    text = str(fields.get("token", ""))
    return {
        "token": text,
        "logprob": fields.get("logProbability", 0.0),
        "bytes": list(text.encode("utf-8", "surrogatepass")),
    }
