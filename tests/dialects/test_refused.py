"""Each row of the tables of refused fields, and each refused tool (SPEC 2.9)."""

from __future__ import annotations

from typing import Any

import pytest

from apps.core.errors import GatewayError
from apps.dialects.anthropic_messages import request as messages
from apps.dialects.common.refused import COUNTS, MAXIMA, Table, Why
from apps.dialects.openai_chat import request as chat
from apps.dialects.openai_images import request as images
from apps.dialects.openai_responses import request as responses
from apps.dialects.protocol import InvalidRequest, Modifier, State, UnknownState, UnsupportedField
from tests.dialects.bodies import ENDPOINTS, parse, sent

TABLES: dict[str, Table] = {
    "chat": chat.REFUSED,
    "responses": responses.REFUSED,
    "images": images.REFUSED,
    "messages": messages.REFUSED,
}
ROWS = [(endpoint, name) for endpoint, table in TABLES.items() for name in table]
FREE = [(e, name, value) for e, table in TABLES.items() for name, refusal in table.items() for value in refusal.allowed]


@pytest.mark.parametrize(("endpoint", "name"), ROWS)
@pytest.mark.parametrize("value", ["premium", True, ["x"], {"x": 1}, 1, -1, 1.5, 2**63, "x" * 100])
def test_a_field_of_the_table_is_refused_by_name(endpoint: str, name: str, value: Any) -> None:
    if TABLES[endpoint][name].is_priceable and value == "premium":
        # An operator may have priced it for some models: that is looked at when the model is known.
        assert parse(endpoint, **{name: value}).modifiers == (Modifier(name, "premium"),)
        return
    names_an_id = TABLES[endpoint][name].why is Why.STATE and value != {"x": 1}
    with pytest.raises(UnknownState if names_an_id else UnsupportedField, match=f"`{name}`") as refused:
        parse(endpoint, **{name: value})
    told = (404, "not_found", name) if names_an_id else (400, "unsupported_field", name)
    assert (refused.value.status, refused.value.code, refused.value.param) == told


@pytest.mark.parametrize(("endpoint", "name"), ROWS)
@pytest.mark.parametrize("value", [None, False, [], {}, ""])
def test_a_field_that_says_nothing_passes(endpoint: str, name: str, value: Any) -> None:
    assert parse(endpoint, **{name: value}).n == 1


@pytest.mark.parametrize(("endpoint", "name", "value"), FREE)
def test_values_that_cost_nothing_extra_pass(endpoint: str, name: str, value: str) -> None:
    assert sent(endpoint, **{name: value})[name] == value


KEPT = {"conversation", "container", "file_ids", "vector_store_ids", "cached_content", "cachedContent"}
IDS = {
    "chat": {*KEPT, "previous_response_id", "prompt"},
    "responses": {*KEPT, "prompt"},
    "images": {*KEPT, "previous_response_id"},
    "messages": {*KEPT, "previous_response_id"},
}


@pytest.mark.parametrize("endpoint", IDS)
def test_ids_that_nobody_can_have_from_us_are_not_found(endpoint: str) -> None:
    assert IDS[endpoint] == {name for name, refusal in TABLES[endpoint].items() if refusal.why is Why.STATE}
    for name in IDS[endpoint]:
        for value in ("id_1", {"id": "id_1"}, ["id_1"]):
            with pytest.raises(UnknownState):
                parse(endpoint, **{name: value})


@pytest.mark.parametrize("name", ["models", "service_tier", "api_base", "cached_content", "best_of"])
def test_fields_cannot_hide_in_what_some_endpoints_unpack(name: str) -> None:
    for hidden in ({"extra_body": {name: "x" * 50}}, {"extra_body": {"google": {name: "x" * 50}}}):
        with pytest.raises(GatewayError, match=f"`{name}`"):
            parse("chat", **hidden)
    thinking = {"extra_body": {"google": {"thinking_config": {"include_thoughts": True}}}}
    assert sent("chat", **thinking)["extra_body"] == thinking["extra_body"]
    assert parse("chat", extra_body="x").n == 1
    assert parse("chat", extra_body={"service_tier": "flex"}).modifiers == (Modifier("service_tier", "flex"),)


def test_what_the_tables_must_hold() -> None:
    for endpoint in ENDPOINTS:
        assert {"service_tier", "speed", "models", "provider", "route", "plugins"} <= TABLES[endpoint].keys()
    assert {"prediction", "web_search_options", "store", "background"} <= chat.REFUSED.keys()
    assert {"background", "conversation", "prompt"} <= responses.REFUSED.keys()
    assert {"container", "mcp_servers", "inference_geo", "fallbacks"} <= messages.REFUSED.keys()


@pytest.mark.parametrize("tier", ["flex", "priority", "scale", "AUTO"])
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_other_service_tiers_change_the_price(endpoint: str, tier: str) -> None:
    assert parse(endpoint, service_tier=tier).modifiers == (Modifier("service_tier", tier),)
    assert parse(endpoint, service_tier="auto").modifiers == ()


OWN_BOUNDS = {
    "chat": {"n", "max_tokens", "max_completion_tokens"},
    "responses": {"max_output_tokens"},
    "messages": {"max_tokens"},
    "images": {"n"},
}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_what_would_bound_the_output_under_another_name_is_refused(endpoint: str) -> None:
    """An upstream that knew the name would write more than was held for."""
    for name in {*COUNTS, *MAXIMA} - OWN_BOUNDS[endpoint]:
        for value in (2, 2**31, 2**63, "4"):
            with pytest.raises(UnsupportedField, match=f"`{name}`"):
                parse(endpoint, **{name: value})


def test_fields_that_nobody_knew_yet_pass() -> None:
    for endpoint in ENDPOINTS:
        assert sent(endpoint, hologram={"depth": 3})["hologram"] == {"depth": 3}
    assert sent("chat", metadata={"team": "blue"}, user="u1", temperature=0.3, seed=7)["metadata"] == {"team": "blue"}
    assert sent("images", background="transparent")["background"] == "transparent"


HOSTED = [("chat", name) for name in chat.HOSTED_TOOLS]
HOSTED += [("responses", name) for name in responses.HOSTED_TOOLS]
HOSTED += [("messages", name + "20260101") for name in messages.HOSTED_TOOLS]


@pytest.mark.parametrize(("endpoint", "kind"), HOSTED)
def test_tools_that_run_at_the_provider_are_refused(endpoint: str, kind: str) -> None:
    own = {"type": "function", "name": "f"}
    with pytest.raises(UnsupportedField) as refused:
        parse(endpoint, tools=[own, own, {"type": kind}])
    assert refused.value.param == "tools[2].type"


OWN = [
    ("chat", {"type": "function", "function": {"name": "f"}}),
    ("chat", {"type": "custom", "custom": {"name": "f"}}),
    ("responses", {"type": "function", "name": "f"}),
    ("responses", {"type": "custom", "name": "apply"}),
    ("responses", {"type": "namespace", "name": "agents", "tools": []}),
    ("responses", {"type": "local_shell"}),
    ("responses", {"type": "apply_patch"}),
    ("messages", {"name": "f", "input_schema": {}}),
    ("messages", {"type": "custom", "name": "f", "input_schema": {}}),
    ("messages", {"type": "bash_20250124", "name": "bash"}),
    ("messages", {"type": "text_editor_20250728", "name": "edit"}),
    ("messages", {"type": "computer_20250124", "name": "computer"}),
    ("messages", {"type": "memory_20250818", "name": "memory"}),
    ("messages", {"type": "tool_search_tool_bm25_20251119", "name": "search"}),
]


@pytest.mark.parametrize(("endpoint", "tool"), OWN)
def test_tools_of_the_callers_own_pass_unchanged(endpoint: str, tool: dict[str, Any]) -> None:
    assert sent(endpoint, tools=[tool])["tools"] == [tool]
    assert sent(endpoint, tools=[])["tools"] == []


@pytest.mark.parametrize("endpoint", ["chat", "responses", "messages"])
@pytest.mark.parametrize("tools", ["all", [1], [None], [{"type": 5}], {}])
def test_tools_are_a_list_of_objects(endpoint: str, tools: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse(endpoint, tools=tools)
    assert refused.value.param == "tools"


def test_bounded_web_search_is_counted() -> None:
    tool = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
    request = parse("messages", tools=[{"name": "f"}, tool])
    assert request.demand.server_tool_uses == 8
    assert parse("messages", tools=[tool, {**tool, "max_uses": 3}]).demand.server_tool_uses == 11


@pytest.mark.parametrize("uses", [None, 0, 21, -1, "5", 2.5])
def test_unbounded_web_search_is_refused(uses: Any) -> None:
    with pytest.raises((InvalidRequest, UnsupportedField)) as refused:
        parse("messages", tools=[{"type": "web_search_20260318", "max_uses": uses}])
    assert refused.value.param == "tools[0].max_uses"


def test_compaction_is_refused_and_clearing_passes() -> None:
    clear = {"type": "clear_thinking_20251015", "keep": "all"}
    assert sent("messages", context_management={"edits": [clear]})["context_management"] == {"edits": [clear]}
    with pytest.raises(UnsupportedField) as refused:
        parse("messages", context_management={"edits": [clear, {"type": "compact_20260112"}]})
    assert refused.value.param == "context_management.edits[1].type"
    for malformed in ("on", {"edits": 5}, {"edits": [1]}):
        with pytest.raises(InvalidRequest):
            parse("messages", context_management=malformed)


FUNCTION = {"type": "function", "name": "shell"}
SEARCH = {"type": "web_search", "external_web_access": False}


def test_web_search_that_an_agent_only_offers_is_left_out() -> None:
    request = parse("responses", tools=[FUNCTION, SEARCH, {"type": "namespace", "name": "agents"}], tool_choice="auto")
    assert request.adapted == ("tools[1] web_search: left out",)
    kept = sent("responses", tools=[FUNCTION, SEARCH, {"type": "namespace", "name": "agents"}])["tools"]
    assert kept == [FUNCTION, {"type": "namespace", "name": "agents"}]


def test_web_search_that_is_wanted_is_refused() -> None:
    with pytest.raises(UnsupportedField) as refused:
        parse("responses", tools=[SEARCH])
    assert refused.value.param == "tools[0].type"
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [FUNCTION, {"type": "web_search_preview"}]}
    for choice in ({"type": "web_search"}, allowed):
        with pytest.raises(UnsupportedField) as refused:
            parse("responses", tools=[FUNCTION, SEARCH], tool_choice=choice)
        assert refused.value.param == "tool_choice"
    for harmless in ({"type": "function", "name": "shell"}, "required", None):
        assert parse("responses", tools=[FUNCTION, SEARCH], tool_choice=harmless).adapted != ()


@pytest.mark.parametrize("kind", ["additional_tools", "tool_search_output"])
@pytest.mark.parametrize("tool", [{"type": "code_interpreter"}, SEARCH])
def test_tools_inside_the_input_are_tools_too(kind: str, tool: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedField) as refused:
        parse("responses", input=[{"type": kind, "tools": [FUNCTION, tool]}])
    assert refused.value.param == "input[0].tools[1].type"


@pytest.mark.parametrize("item", [{"type": "item_reference", "id": "rs_1"}, {"id": "rs_1"}])
def test_references_to_stored_replies_and_items_are_left_to_whoever_knows_them(item: dict[str, Any]) -> None:
    request = parse("responses", input=[{"role": "user", "content": "Hi"}, item], previous_response_id="resp_1")
    assert request.states == (
        State("response", "resp_1", "previous_response_id"),
        State("item", "rs_1", "input[1].id"),
    )
    assert parse("responses", previous_response_id=None).states == ()


@pytest.mark.parametrize("item", [{}, {"type": "item_reference"}, {"id": ""}, {"id": "x" * 201}, {"id": "a\n"}])
def test_a_reference_without_a_sensible_id_is_not_found(item: dict[str, Any]) -> None:
    with pytest.raises(UnknownState) as refused:
        parse("responses", input=[item])
    assert refused.value.param == "input[0].id"
    with pytest.raises(InvalidRequest):
        parse("responses", input=[{"id": f"rs_{number}"} for number in range(201)])


def test_nothing_is_stored_unless_it_is_asked_for() -> None:
    for value in (None, False):
        assert parse("responses", store=value).wants_storing is False
        assert sent("responses", store=value)["store"] is False
    assert sent("responses")["store"] is False
    assert parse("responses", store=True).wants_storing is True
    assert sent("responses", store=True)["store"] is True
    with pytest.raises(InvalidRequest):
        parse("responses", store="yes")
