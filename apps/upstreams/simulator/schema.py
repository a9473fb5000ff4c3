"""Values that satisfy a JSON schema, filled with what the prompt talks about."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from apps.upstreams.simulator import pattern

MAX_DEPTH: Final = 24
OPTIONAL_DEPTH: Final = 3
"""Deeper than this only what is required is filled in, so that a schema that refers to itself ends."""

MAX_EFFORT: Final = 5_000
"""How much work one value is worth, whatever its schema says: one for each value, property folded in and choice
looked at, PATTERN_EFFORT for a pattern."""

PATTERN_EFFORT: Final = 10
MAX_CHOICES: Final = 64
"""So many choices of an `enum` are looked up in the prompt."""

MAX_ITEMS: Final = 200
MAX_STRING: Final = 20_000

_WORD: Final = re.compile(r"\w+")
_QUOTED: Final = re.compile(r"\"([^\"\n]{1,80})\"|“([^”\n]{1,80})”|`([^`\n]{1,80})`")
_NAMES: Final = re.compile(r"(?<=[\w,;:] )[A-Z][\w-]{0,40}(?: [A-Z][\w-]{0,40}){0,3}")
_NUMBERS: Final = re.compile(r"(?<![\w.])-?\d{1,12}(?:\.\d{1,6})?(?![\w.]*\w)")

_FORMATS: Final = {
    "date-time": "2026-01-15T09:30:00Z",
    "date": "2026-01-15",
    "time": "09:30:00Z",
    "duration": "PT1H",
    "email": "person@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "0190b6f2-1c1c-7c3a-8000-000000000000",
}


@dataclass(slots=True)
class Material:
    """What a prompt offers to fill values with: quoted texts and names first, else all of it."""

    words: str
    """The text in lower case, with one space between its words and at both ends."""
    strings: list[str]
    numbers: list[float]
    used: int = 0

    def mentions(self, choice: Any) -> bool:
        return isinstance(choice, str) and _spaced(choice) in self.words

    def next_string(self) -> str:
        self.used += 1
        return self.strings[(self.used - 1) % len(self.strings)]


def gather(text: str, *, without: frozenset[str] = frozenset(), skip: int = 0) -> Material:
    """Read the material in a prompt. `without` are words that are not meant (names of tools); `skip` names were used
    by an earlier call."""
    quoted = [next(filter(None, match.groups())) for match in _QUOTED.finditer(text)]
    names = [match[0] for match in _NAMES.finditer(text)]
    strings = [string for string in quoted or names if string not in without]
    numbers = [float(match[0]) for match in _NUMBERS.finditer(text)]
    return Material(_spaced(text), strings or [" ".join(text.split())[:200] or "simulated"], numbers, used=skip)


def _spaced(text: str) -> str:
    return f" {' '.join(_WORD.findall(text.lower()))} "


def instance(schema: Mapping[str, Any], material: Material) -> Any:
    """A value that satisfies the schema (a bounded one: very deep or very large schemas are cut short)."""
    return _Maker(schema, material).make(schema, depth=0)


@dataclass(slots=True)
class _Maker:
    root: Mapping[str, Any]
    material: Material
    left: int = MAX_EFFORT

    def _spend(self, effort: int) -> bool:
        """False once the effort is used up."""
        self.left -= effort
        return self.left >= 0

    def make(self, schema: Any, *, depth: int, place: int = 0) -> Any:
        """`place` is the position in an array, so that its items differ."""
        if not isinstance(schema, Mapping) or depth > MAX_DEPTH or not self._spend(1 + len(schema) // 16):
            return None
        schema = self._resolve(schema)
        if "const" in schema:
            return schema["const"]
        if isinstance(choices := schema.get("enum"), list) and choices:
            return self._choose(choices, place)
        for key in ("anyOf", "oneOf"):
            if isinstance(options := schema.get(key), list) and options:
                return self.make(_pick(options, depth), depth=depth + 1, place=place)
        match _kind(schema):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "integer":
                return int(self._number(schema, step=1, place=place))
            case "number":
                # A whole number without a fraction: there are clients that read a count from a `number`.
                number = self._number(schema, step=0, place=place)
                return int(number) if number.is_integer() else number
            case "boolean":
                return True
            case "null":
                return None
        return self._string(schema, place)

    def _resolve(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Follow `$ref` and fold `allOf` in, a bounded number of times."""
        for _ in range(MAX_DEPTH):
            if isinstance(pointer := schema.get("$ref"), str):
                beside = {key: value for key, value in schema.items() if key != "$ref"}
                schema = {**self._at(pointer), **beside}
            elif isinstance(parts := schema.get("allOf"), list):
                folded = {key: value for key, value in schema.items() if key != "allOf"}
                for part in parts:
                    folded = _fold(folded, self._resolve_once(part))
                    if not self._spend(1 + len(folded) + len(folded.get("properties", ()))):
                        break
                schema = folded
            else:
                break
        return schema

    def _resolve_once(self, part: Any) -> Mapping[str, Any]:
        if not isinstance(part, Mapping):
            return {}
        pointer = part.get("$ref")
        return self._at(pointer) if isinstance(pointer, str) else part

    def _at(self, pointer: str) -> Mapping[str, Any]:
        """What a reference within the schema (`#/$defs/Step`) names; an empty schema where there is nothing."""
        found: Any = self.root
        for name in pointer.lstrip("#").split("/")[1:]:
            found = found.get(name.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, Mapping) else {}
        return found if isinstance(found, Mapping) else {}

    def _choose(self, choices: list[Any], place: int) -> Any:
        """The choice that the prompt mentions, else the first; items of an array take turns."""
        looked_at = choices[:MAX_CHOICES] if self._spend(min(len(choices), MAX_CHOICES)) else []
        first = next((index for index, choice in enumerate(looked_at) if self.material.mentions(choice)), 0)
        return choices[(first + place) % len(choices)]

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        properties = properties if isinstance(properties, Mapping) else {}
        required = schema.get("required")
        required = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
        made = {
            name: self.make(part, depth=depth + 1)
            for name, part in properties.items()
            if name in required or (depth < OPTIONAL_DEPTH and self.left > 0)
        }
        more = schema.get("additionalProperties")
        for index in range(_bound(schema, "minProperties", 0) - len(made)):
            made[f"key_{index + 1}"] = self.make(more, depth=depth + 1, place=index) if more else "simulated"
        return made

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        first = schema.get("prefixItems")
        first = first if isinstance(first, list) else []
        wanted = max(_bound(schema, "minItems", 0), 1 if depth <= OPTIONAL_DEPTH else 0, len(first))
        size = min(wanted, _bound(schema, "maxItems", MAX_ITEMS), MAX_ITEMS)
        items = schema.get("items", {})
        made = [
            self.make(first[place] if place < len(first) else items, depth=depth + 1, place=place)
            for place in range(size)
        ]
        if schema.get("uniqueItems") is True:
            for place, item in enumerate(made):
                if isinstance(item, str) and item in made[:place] and "enum" not in items:
                    made[place] = f"{item} {place + 1}"
        return made

    def _number(self, schema: Mapping[str, Any], *, step: int, place: int) -> float:
        """A number of the prompt that fits, else the smallest that does (1 where all do). `step` 1 is for integers."""
        low, high = _lowest(schema, step), _highest(schema, step)
        multiple = _number_in(schema, "multipleOf") or step

        def fits(number: float) -> bool:
            return low <= number <= high and (not multiple or number % multiple == 0)

        fitting = [number for number in self.material.numbers if fits(number)]
        if fitting:
            return fitting[place % len(fitting)]
        base = float(min(max(1, low), high))
        if multiple > 0:
            base = math.ceil(base / multiple) * multiple
        apart = base + place * (multiple or 1)
        return apart if fits(apart) else base

    def _string(self, schema: Mapping[str, Any], place: int) -> str:
        least, most = _bound(schema, "minLength", 0), _bound(schema, "maxLength", MAX_STRING)
        expression = schema.get("pattern")
        if isinstance(expression, str) and self._spend(PATTERN_EFFORT):
            text = pattern.example(expression)
            if text is not None:
                return text + text[-1:] * (least - len(text))
        fixed = _FORMATS.get(str(schema.get("format")))
        if fixed is not None:
            return fixed
        text = self.material.next_string()
        return (text + "." * (min(least, MAX_STRING) - len(text)))[:most]


def _kind(schema: Mapping[str, Any]) -> str:
    kinds = schema.get("type")
    if isinstance(kinds, list):
        kinds = next((kind for kind in kinds if kind != "null"), "null")
    if isinstance(kinds, str):
        # Gemini writes its types in capitals.
        return kinds.lower()
    return "object" if "properties" in schema else "array" if "items" in schema else "string"


def _pick(options: list[Any], depth: int) -> Any:
    """The first option that says something; deep down `null`, where it is one, ends what could go on."""
    is_null = [isinstance(option, Mapping) and option.get("type") == "null" for option in options]
    if depth > OPTIONAL_DEPTH and any(is_null):
        return options[is_null.index(True)]
    return next((option for option, null in zip(options, is_null, strict=True) if not null), options[0])


def _fold(whole: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    folded = {**whole, **part}
    for key in ("properties", "required"):
        mine, theirs = whole.get(key), part.get(key)
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            folded[key] = {**mine, **theirs}
        elif isinstance(mine, list) and isinstance(theirs, list):
            folded[key] = [*mine, *theirs]
    return folded


def _bound(schema: Mapping[str, Any], name: str, default: int) -> int:
    """A size of the schema: integers only (Gemini writes them as text), never past what we are willing to make."""
    value = schema.get(name)
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return default
    return min(value, MAX_STRING)


def _lowest(schema: Mapping[str, Any], step: int) -> float:
    """`minimum` or `exclusiveMinimum`; past an exclusive bound by one, or a thousandth where fractions are taken."""
    if (exclusive := _number_in(schema, "exclusiveMinimum")) is not None:
        return exclusive + (step or 0.001)
    least = _number_in(schema, "minimum")
    return -math.inf if least is None else least


def _highest(schema: Mapping[str, Any], step: int) -> float:
    if (exclusive := _number_in(schema, "exclusiveMaximum")) is not None:
        return exclusive - (step or 0.001)
    most = _number_in(schema, "maximum")
    return math.inf if most is None else most


def _number_in(schema: Mapping[str, Any], name: str) -> float | None:
    value = schema.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
