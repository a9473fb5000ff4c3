"""Generated arguments and structured outputs satisfy their schemas."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from apps.upstreams.simulator import pattern, schema

TEXT = 'Book "Blue Hotel" for 3 nights, not 12, in red'


def made(of: dict[str, Any], text: str = TEXT) -> Any:
    return schema.instance(of, schema.gather(text))


@pytest.mark.parametrize(
    ("of", "value"),
    [
        ({"type": "string"}, "Blue Hotel"),
        ({"type": "string", "maxLength": 4}, "Blue"),
        ({"type": "string", "minLength": 12}, "Blue Hotel.."),
        ({"type": "string", "format": "date"}, "2026-01-15"),
        ({"type": "string", "enum": ["green", "red"]}, "red"),
        ({"type": "string", "enum": ["o", "b"]}, "o"),
        ({"enum": [7, 8]}, 7),
        ({"const": {"a": 1}}, {"a": 1}),
        ({"type": "integer"}, 3),
        ({"type": "integer", "minimum": 10}, 12),
        ({"type": "integer", "minimum": 50, "maximum": 60}, 50),
        ({"type": "integer", "exclusiveMinimum": 3, "maximum": 4}, 4),
        ({"type": "integer", "multipleOf": 5, "minimum": 11}, 15),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}, 0.5),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"type": ["null", "string"]}, "Blue Hotel"),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, 3),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [3, 12]),
        ({"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 3}, ["a", "b", "a"]),
        ({"type": "array", "items": {"type": "string"}, "maxItems": 0}, []),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 2, "uniqueItems": True},
            ["Blue Hotel", "Blue Hotel 2"],
        ),
        ({"type": "array", "prefixItems": [{"type": "boolean"}, {"type": "integer"}]}, [True, 12]),
        ({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]}, {"a": 1, "b": 2}),
        ({"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1}, {"key_1": 3}),
        ({"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}}, {"n": 3}),
    ],
)
def test_values_satisfy_their_schema(of: dict[str, Any], value: Any) -> None:
    assert made(of) == value


def test_a_schema_that_refers_to_itself_ends() -> None:
    tree = {
        "$ref": "#/$defs/Node",
        "$defs": {
            "Node": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
                },
                "required": ["name", "next"],
            }
        },
    }
    value = made(tree)
    assert value["name"] == "Blue Hotel"
    depth = 0
    while value is not None:
        value, depth = value["next"], depth + 1
    assert 2 <= depth <= 4
    endless = {"type": "array", "items": {"$ref": "#"}, "minItems": 50}
    assert isinstance(made(endless), list)
    assert made({"$ref": "#/nowhere"}) == "Blue Hotel"


@pytest.mark.parametrize(
    "expression", [r"^[A-Z]{3}-\d{4}$", r"^(?:a|b)+[^a-z]\w\s?$", r"^\S+@\S+\.com$", r"[^\d]x{2,5}", r"^$"]
)
def test_texts_follow_their_pattern(expression: str) -> None:
    assert re.search(expression, made({"type": "string", "pattern": expression}))


@pytest.mark.parametrize("expression", ["(", "a{99999}", "(?=x)x", "a" * 600, "(" * 400 + ")" * 400])
def test_patterns_that_cannot_be_followed_are_passed_over(expression: str) -> None:
    assert pattern.example(expression) is None
    assert made({"type": "string", "pattern": expression}) == "Blue Hotel"


def test_names_are_used_where_nothing_is_quoted() -> None:
    material = schema.gather("Fly from New York to Tokyo", without=frozenset({"Tokyo"}))
    assert material.strings == ["New York"]


def test_hostile_schemas_take_bounded_time() -> None:
    properties = {f"p{index}": {"type": "string"} for index in range(3_000)}
    wide = {"$defs": {"Wide": {"properties": properties, "required": list(properties)}}}
    folded = {**wide, "allOf": [{"$ref": "#/$defs/Wide"}] * 3_000}
    choices = {"type": "array", "minItems": 200, "items": {"enum": [f"choice {index}" for index in range(20_000)]}}
    patterns = {"type": "array", "minItems": 200, "items": {"type": "string", "pattern": "(?:[a-z]{9}){40}" * 20}}
    started_at = time.process_time()
    for hostile in (folded, choices, patterns):
        made(hostile)
    assert time.process_time() - started_at < 2
