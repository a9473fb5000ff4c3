"""Free-text tools survive a target that only knows JSON arguments."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from apps.dialects.hub.conversation import Tool
from apps.dialects.hub.custom import SCHEMA, as_function, unwrap_input, wrap_input
from tests.dialects.bodies import relaxed


def test_a_grammar_moves_into_the_description() -> None:
    grammar = Raw(b'{"type":"grammar","syntax":"lark","definition":"start: INT"}')
    tool = as_function(Tool("sum", "Adds.", is_custom=True, format=grammar))
    assert tool.description == "Adds.\n\nThe input must follow this lark grammar:\nstart: INT"
    assert (tool.name, tool.schema, tool.is_custom, tool.format) == ("sum", SCHEMA, False, None)


def test_without_a_grammar_the_description_stays() -> None:
    assert as_function(Tool("sum", is_custom=True, format=Raw(b'{"type":"text"}'))).description is None
    assert as_function(Tool("sum", "Adds.", is_custom=True, format=Raw(b"7"))).description == "Adds."


def test_arguments_of_another_shape_are_the_text_themselves() -> None:
    assert unwrap_input('{"path": "a"}') == '{"path": "a"}'
    assert unwrap_input('{"input": "a", "path": "b"}') == '{"input": "a", "path": "b"}'
    assert unwrap_input("") == ""


@relaxed
@given(st.text())
def test_text_comes_back_as_it_was(text: str) -> None:
    assert unwrap_input(wrap_input(text)) == text
