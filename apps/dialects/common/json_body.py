"""Read a caller's JSON as far as needed: the top level as raw bytes, single fields typed.

A request of 125 KB costs one pass of skipping (about 50 microseconds); no object is made for what nobody asks about.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw

from apps.dialects.protocol import InvalidRequest

T = TypeVar("T")
Fields = dict[str, Raw]

MAX_FIELDS: Final = 1_000
MAX_COUNT: Final = 2**31 - 1
MAX_MODEL_CHARS: Final = 100
MAX_CACHE_KEY_CHARS: Final = 512
CROWD_BYTES: Final = 1_000_000
"""What is shorter than this cannot hold enough elements to be a burden."""
MAX_CROWD: Final = 200_000
"""Most opening braces in one field, its text included: a million tokens of text have fewer."""

NULL: Final = Raw(b"null")


class _Bulk(msgspec.Struct):
    """Fields that are rightly large."""

    messages: Raw = NULL
    input: Raw = NULL
    prompt: Raw = NULL
    system: Raw = NULL
    instructions: Raw = NULL
    tools: Raw = NULL


_BULK: Final = msgspec.json.Decoder(_Bulk)
_FIELDS: Final = msgspec.json.Decoder(dict[str, Raw])
_TEXT: Final = msgspec.json.Decoder(str | None)
_FLAG: Final = msgspec.json.Decoder(bool | None)
_COUNT: Final = msgspec.json.Decoder(int | None)
_NUMBER: Final = msgspec.json.Decoder(float | None)
_ANY: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(Any)

# RecursionError is what msgspec raises for JSON nested deeper than the interpreter's own limit.
UNREADABLE: Final = (ValueError, RecursionError)


def open_body(body: bytes) -> Fields:
    """The top level of a JSON object; of duplicate keys the last one counts, here and for the upstream.

    Raises: InvalidRequest, for anything but one well-formed UTF-8 object.
    """
    try:
        # Skipped strings are not checked by the decoder, and they travel on as they are.
        body.decode()
        if len(body) > CROWD_BYTES:
            _check_bulk(body)
        fields = _FIELDS.decode(body)
    except UnicodeDecodeError:
        raise InvalidRequest("The body is not valid UTF-8.") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None
    except msgspec.ValidationError:
        raise InvalidRequest("The body must be a JSON object.") from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}") from None
    if len(fields) > MAX_FIELDS:
        raise InvalidRequest(f"The body has more than {MAX_FIELDS} fields.")
    return fields


def _check_bulk(body: bytes) -> None:
    """A large body is large where people write: millions of top-level keys would cost seconds and are not read."""
    bulk = _BULK.decode(body)
    parts = (bulk.messages, bulk.input, bulk.prompt, bulk.system, bulk.instructions, bulk.tools)
    if len(body) - sum(len(memoryview(part)) for part in parts) > CROWD_BYTES:
        raise InvalidRequest(
            f"The body has more than {CROWD_BYTES} bytes outside of {', '.join(bulk.__struct_fields__)}."
        )


def is_null(raw: Raw) -> bool:
    return bytes(memoryview(raw)[:4]) == b"null"


def first_byte(raw: Raw) -> bytes:
    """`b'['` for an array, `b'"'` for a string, and so on: what kind of value this is."""
    return bytes(memoryview(raw)[:1])


def given(fields: Mapping[str, Raw], name: str) -> Raw | None:
    """The field's value, or None where it is absent or null."""
    raw = fields.get(name)
    return None if raw is None or is_null(raw) else raw


def read(decoder: msgspec.json.Decoder[T], raw: Raw, name: str, kind: str) -> T:
    """Decode one field. Raises: InvalidRequest, saying that `name` must be `kind`."""
    check_crowd(raw, name)
    try:
        return decoder.decode(raw)
    except RecursionError:
        raise InvalidRequest(f"`{name}` is nested too deeply.", param=name) from None
    except ValueError:
        raise InvalidRequest(f"`{name}` must be {kind}.", param=name) from None


def check_crowd(raw: Raw, name: str) -> None:
    """Refuse millions of tiny objects unread: decoding `[{},{},…]` costs a hundred times what skipping text does."""
    view = memoryview(raw)
    if len(view) > CROWD_BYTES and bytes(view).count(b"{") > MAX_CROWD:
        raise InvalidRequest(f"`{name}` has more than {MAX_CROWD} elements.", param=name)


def read_text(fields: Mapping[str, Raw], name: str) -> str | None:
    raw = fields.get(name)
    return None if raw is None else read(_TEXT, raw, name, "a string")


def read_flag(fields: Mapping[str, Raw], name: str) -> bool:
    raw = fields.get(name)
    return False if raw is None else bool(read(_FLAG, raw, name, "true or false"))


def read_count(
    fields: Mapping[str, Raw], name: str, *, least: int = 1, most: int = MAX_COUNT, label: str | None = None
) -> int | None:
    """An integer within bounds, or None where absent or null. `label` names a nested field in the message."""
    raw = fields.get(name)
    if raw is None:
        return None
    label = label or name
    kind = f"an integer from {least} to {most}"
    value: int | None = read(_COUNT, raw, label, kind)
    if value is not None and not least <= value <= most:
        raise InvalidRequest(f"`{label}` must be {kind}.", param=label)
    return value


def read_number(fields: Mapping[str, Raw], name: str) -> float | None:
    raw = fields.get(name)
    return None if raw is None else read(_NUMBER, raw, name, "a number")


def read_object(fields: Mapping[str, Raw], name: str) -> Fields:
    """A nested object's own top level; empty where absent or null."""
    raw = given(fields, name)
    return {} if raw is None else read(_FIELDS, raw, name, "an object")


def nested(fields: Mapping[str, Raw], name: str) -> Fields:
    """Like `read_object`, but empty where the field is something else: providers give it several shapes."""
    raw = fields.get(name)
    return {} if raw is None or first_byte(raw) != b"{" else read(_FIELDS, raw, name, "an object")


def read_any(raw: Raw, name: str) -> Any:
    return read(_ANY, raw, name, "valid JSON")


def read_model(fields: Mapping[str, Raw]) -> str:
    model_id = read_text(fields, "model")
    if not model_id or len(model_id) > MAX_MODEL_CHARS or not model_id.isprintable():
        raise InvalidRequest(f"`model` must be a model id of 1 to {MAX_MODEL_CHARS} characters.", param="model")
    return model_id


def read_cache_key(fields: Mapping[str, Raw]) -> str | None:
    """`prompt_cache_key`; it may end up as a session id in the usage log, so it is printable text."""
    key = read_text(fields, "prompt_cache_key")
    if key and (len(key) > MAX_CACHE_KEY_CHARS or not key.isprintable()):
        raise InvalidRequest(
            f"`prompt_cache_key` must be printable text of at most {MAX_CACHE_KEY_CHARS} characters.",
            param="prompt_cache_key",
        )
    return key or None


def read_list(decoder: msgspec.json.Decoder[list[T]], raw: Raw, name: str) -> list[T]:
    """An array of objects. Raises: InvalidRequest, saying where it is malformed."""
    check_crowd(raw, name)
    try:
        return decoder.decode(raw)
    except RecursionError:
        raise InvalidRequest(f"`{name}` is nested too deeply.", param=name) from None
    except ValueError as error:
        raise InvalidRequest(f"`{name}` is malformed: {error}", param=name) from None
