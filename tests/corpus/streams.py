"""What of a recorded stream its caller sees, and what of the caller's stream is ours. Nothing here imports the gateway:
it says again, in its own words, what the gateway must do."""

from __future__ import annotations

from typing import Any, Final

from tests.corpus.recordings import Event, Recording, events_of

DONE: Final = Event("", "[DONE]")


def asks_for_usage(recording: Recording) -> bool:
    options = (recording.request or {}).get("stream_options") or {}
    return bool(options.get("include_usage"))


def visible(recording: Recording) -> list[Event]:
    """The recorded events as the caller must see them, without the model's name."""
    events = [event for event in events_of(recording.raw) if event.json != "[DONE]"]
    if recording.dialect != "openai-chat":
        return [_nameless(event) for event in events]
    shown = [
        event
        for event in events
        if asks_for_usage(recording) or event.json.get("choices") or event.json.get("usage") is None
    ]
    if not asks_for_usage(recording):
        for event in shown:
            event.json.pop("usage", None)
    return [*(_nameless(event) for event in shown), DONE]


def fails(recording: Recording) -> bool:
    """Whether the recorded stream ends in an error, or before its end. A chat stream that ends after `finish_reason`
    is whole: some providers send neither usage nor `[DONE]`."""
    if recording.dialect == "openai-chat" and not any(is_error(event) for event in events_of(recording.raw)):
        return "truncated" in recording.features and not any(
            choice.get("finish_reason")
            for event in events_of(recording.raw)
            if event != DONE
            for choice in event.json["choices"]
        )
    return bool({"midstream_error", "truncated"} & recording.features)


def is_error(event: Event) -> bool:
    return event.json != "[DONE]" and (bool(event.json.get("error")) or event.json.get("type") == "response.failed")


def without_ours(recording: Recording, events: list[Event], *, model: str) -> tuple[list[Event], Any]:
    """The caller's events without the model's name, our `hypereal` block and a usage chunk that only we sent; and the
    block's `billing`, None where there is none."""
    billing = None
    theirs = []
    for event in events:
        if event.json != "[DONE]":
            for holder in _holders(event.json):
                assert holder.get("model", model) == model
                block = holder.pop("hypereal", None)
                if block is not None:
                    assert billing is None, "two bills"
                    billing = block["billing"]
                    if recording.dialect == "openai-chat" and not event.json["choices"] and _counts_nothing(recording):
                        break
            else:
                theirs.append(_nameless(event))
            continue
        theirs.append(event)
    return theirs, billing


def _counts_nothing(recording: Recording) -> bool:
    """Whether no chunk of the recorded chat stream has a `usage` at its top level."""
    return not any(event.json.get("usage") for event in events_of(recording.raw) if event.json != "[DONE]")


def _holders(event: dict[str, Any]) -> list[dict[str, Any]]:
    """Where the model's name and our block may stand: the event, its message, its response."""
    return [event, *(event[name] for name in ("message", "response") if isinstance(event.get(name), dict))]


def _nameless(event: Event) -> Event:
    for holder in _holders(event.json):
        holder.pop("model", None)
    return event
