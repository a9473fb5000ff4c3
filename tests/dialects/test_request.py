"""What is a request, and what is not, in every dialect."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.errors import GatewayError
from apps.dialects.protocol import InvalidRequest, UnsupportedField
from apps.dialects.registry import BY_ENDPOINT
from tests.dialects.bodies import ENDPOINTS, MINIMAL, body, parse, relaxed

every_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS)

NOT_A_REQUEST = {
    "empty": b"",
    "no JSON": b"{model: 1}",
    "cut": b'{"model": "m"',
    "trailing": b'{"model": "m"} x',
    "array": b"[1]",
    "scalar": b"3",
    "null": b"null",
    "byte order mark": b"\xef\xbb\xbf{}",
    "NaN": b'{"temperature": NaN}',
    "invalid UTF-8 in a value that is only passed on": b'{"user": "\xff"}',
    "a surrogate as UTF-8": b'{"user": "\xed\xa0\x80"}',
    "invalid UTF-8 in a name": b'{"\xff": 1}',
    "a lone surrogate": b'{"user": "\\ud800 and text after it"}',
    "a NUL byte": b'{"user": "\x00"}',
    "deep nesting": b'{"user": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "unclosed nesting": b'{"user": ' + b"[" * 100_000,
    "too many fields": json.dumps({f"field_{number}": 1 for number in range(1_001)}).encode(),
    "megabytes of small fields": json.dumps({f"field_{number}": 1 for number in range(80_000)}).encode(),
}


@every_endpoint
@pytest.mark.parametrize("name", NOT_A_REQUEST)
def test_what_is_no_json_object_is_refused(endpoint: str, name: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        BY_ENDPOINT[endpoint].parse(NOT_A_REQUEST[name])
    assert (refused.value.status, refused.value.code) == (400, "invalid_request")


@every_endpoint
def test_a_minimal_request_is_read(endpoint: str) -> None:
    raw = body(endpoint)
    request = BY_ENDPOINT[endpoint].parse(raw)
    assert request.model_id == MINIMAL[endpoint]["model"]
    assert not request.is_stream
    assert request.n == 1
    assert (request.demand.text_bytes, request.demand.images, request.demand.document_pages) == (len(raw), 0, 0)
    assert request.adapted == ()


@every_endpoint
@pytest.mark.parametrize("model", [None, "", 5, True, ["m"], {}, "m" * 101, "a\u0000b", "a\nb", "a\u007f"])
def test_a_model_id_is_short_printable_text(endpoint: str, model: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse(endpoint, model=model)
    assert refused.value.param == "model"


@every_endpoint
def test_a_model_id_of_a_hundred_characters_is_fine(endpoint: str) -> None:
    assert parse(endpoint, model="m" * 100).model_id == "m" * 100


@every_endpoint
@pytest.mark.parametrize("stream", ["true", 1, 0, [], {}])
def test_stream_is_true_or_false(endpoint: str, stream: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse(endpoint, stream=stream)
    assert refused.value.param == "stream"


@every_endpoint
def test_stream_may_be_null(endpoint: str) -> None:
    assert not parse(endpoint, stream=None).is_stream
    assert parse(endpoint, stream=True).is_stream


NOT_COUNTS = [
    "true", "1.5", "1.0", '"1"', "-1", "2147483648", "9223372036854775808", "18446744073686646784",
    "1e400", "1e2", "[]", "9" * 5_000,
]  # fmt: skip


@pytest.mark.parametrize(
    ("endpoint", "field"),
    [
        ("chat", "max_tokens"),
        ("chat", "max_completion_tokens"),
        ("chat", "n"),
        ("chat", "thinking_budget"),
        ("responses", "max_output_tokens"),
        ("messages", "max_tokens"),
        ("images", "n"),
        ("images", "partial_images"),
    ],
)
@pytest.mark.parametrize("number", NOT_COUNTS)
def test_a_count_is_a_sane_integer(endpoint: str, field: str, number: str) -> None:
    raw = body(endpoint)[:-1] + f', "{field}": {number}}}'.encode()
    with pytest.raises(InvalidRequest) as refused:
        BY_ENDPOINT[endpoint].parse(raw)
    assert refused.value.param == field


@pytest.mark.parametrize(
    ("endpoint", "field"),
    [
        ("chat", "max_tokens"),
        ("chat", "n"),
        ("responses", "max_output_tokens"),
        ("messages", "max_tokens"),
        ("images", "n"),
    ],
)
def test_nothing_at_all_cannot_be_asked_for(endpoint: str, field: str) -> None:
    with pytest.raises(InvalidRequest):
        parse(endpoint, **{field: 0})


def test_more_choices_than_the_dialect_has_are_refused() -> None:
    assert parse("chat", n=128).n == 128
    assert parse("images", n=10).n == 10
    for endpoint, n in (("chat", 129), ("images", 11)):
        with pytest.raises(InvalidRequest):
            parse(endpoint, n=n)


def test_null_counts_are_absent() -> None:
    request = parse("chat", n=None, max_tokens=None, max_completion_tokens=None)
    assert (request.n, request.max_tokens) == (1, None)


@pytest.mark.parametrize("value", [None, "text", {}, 5, []])
@pytest.mark.parametrize("endpoint", ["chat", "messages"])
def test_messages_are_a_list_that_is_not_empty(endpoint: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse(endpoint, messages=value)
    assert refused.value.param == "messages"


@pytest.mark.parametrize("element", [None, "text", 5, []])
@pytest.mark.parametrize(
    ("endpoint", "field"), [("chat", "messages"), ("messages", "messages"), ("responses", "input")]
)
def test_messages_are_objects(endpoint: str, field: str, element: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse(endpoint, **{field: [element]})
    assert refused.value.param == field


@pytest.mark.parametrize("value", [None, {}, 5, []])
def test_input_is_text_or_items(value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse("responses", input=value)
    assert refused.value.param == "input"


@pytest.mark.parametrize("value", [None, "", 5, []])
def test_a_prompt_is_text(value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse("images", prompt=value)
    assert refused.value.param == "prompt"


def test_a_chat_body_on_responses_is_sent_to_the_right_door() -> None:
    with pytest.raises(InvalidRequest, match="/chat/completions"):
        BY_ENDPOINT["responses"].parse(body("chat"))


def test_messages_need_a_maximum() -> None:
    raw = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}]}).encode()
    with pytest.raises(InvalidRequest) as refused:
        BY_ENDPOINT["messages"].parse(raw)
    assert refused.value.param == "max_tokens"


@pytest.mark.parametrize("system", [5, {}, True])
def test_system_is_text_or_blocks(system: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse("messages", system=system)
    assert refused.value.param == "system"


def test_a_system_message_in_the_middle_is_fine() -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "system", "content": "Be brief."}]
    assert parse("messages", messages=turns).model_id == "claude-sonnet-4-7"


def test_of_duplicate_fields_the_last_one_counts() -> None:
    raw = body("chat")[:-1] + b', "model": "kimi-latest", "n": 2, "n": 3}'
    request = BY_ENDPOINT["chat"].parse(raw)
    assert (request.model_id, request.n) == ("kimi-latest", 3)
    upstream = BY_ENDPOINT["chat"].upstream_body(request, upstream_model="k2", max_tokens=None, account_tag="acc")
    assert upstream.count(b'"model"') == 1
    assert upstream.count(b'"n"') == 1


def test_both_maxima_of_chat_count() -> None:
    assert parse("chat", max_tokens=50).max_tokens == 50
    assert parse("chat", max_completion_tokens=60).max_tokens == 60
    assert parse("chat", max_tokens=50, max_completion_tokens=60).max_tokens == 50
    assert parse("responses", max_output_tokens=70).max_tokens == 70
    assert parse("messages", max_tokens=80).max_tokens == 80


@pytest.mark.parametrize(
    ("endpoint", "fields"),
    [
        ("chat", {"reasoning": {"max_tokens": 4_000}}),
        ("chat", {"thinking": {"type": "enabled", "budget_tokens": 4_000}}),
        ("chat", {"thinking_budget": 4_000}),
        ("messages", {"thinking": {"type": "enabled", "budget_tokens": 4_000}}),
    ],
)
def test_a_thinking_budget_is_read_wherever_it_stands(endpoint: str, fields: dict[str, Any]) -> None:
    assert parse(endpoint, **fields).thinking_budget == 4_000


@pytest.mark.parametrize("thinking", [{"type": "adaptive"}, {"type": "disabled"}, None, "on"])
def test_thinking_without_a_budget_has_none(thinking: Any) -> None:
    assert parse("messages", thinking=thinking).thinking_budget is None


def test_a_nested_budget_is_named_in_full() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse("messages", thinking={"type": "enabled", "budget_tokens": "4000"})
    assert refused.value.param == "thinking.budget_tokens"


def test_usage_is_wanted_only_where_a_stream_asks_for_it() -> None:
    assert parse("chat").wants_usage
    assert not parse("chat", stream=True).wants_usage
    assert not parse("chat", stream=True, stream_options=None).wants_usage
    assert not parse("chat", stream=True, stream_options={"include_usage": False}).wants_usage
    assert parse("chat", stream=True, stream_options={"include_usage": True}).wants_usage
    with pytest.raises(InvalidRequest):
        parse("chat", stream=True, stream_options="all")
    with pytest.raises(InvalidRequest):
        parse("chat", stream=True, stream_options={"include_usage": 1})


@pytest.mark.parametrize("endpoint", ["chat", "responses"])
def test_a_cache_key_is_printable_text(endpoint: str) -> None:
    assert parse(endpoint, prompt_cache_key="thread-7").cache_key == "thread-7"
    assert parse(endpoint, prompt_cache_key="").cache_key is None
    assert parse(endpoint, prompt_cache_key=None).cache_key is None
    for key in ("a\u0000b", "a\nb", "k" * 513, 5):
        with pytest.raises(InvalidRequest) as refused:
            parse(endpoint, prompt_cache_key=key)
        assert refused.value.param == "prompt_cache_key"


def test_an_escaped_nul_in_the_text_is_passed_on() -> None:
    raw = body("chat", messages=[{"role": "user", "content": "a\u0000b"}])
    request = BY_ENDPOINT["chat"].parse(raw)
    upstream = BY_ENDPOINT["chat"].upstream_body(request, upstream_model="m", max_tokens=None, account_tag="acc")
    assert b'"a\\u0000b"' in upstream


def test_millions_of_tiny_elements_are_refused_unread() -> None:
    crowd = b"[" + b"{}," * 400_000 + b"{}]"
    for endpoint, field in (
        ("chat", b"messages"),
        ("messages", b"messages"),
        ("responses", b"input"),
        ("chat", b"tools"),
    ):
        raw = body(endpoint)[:-1] + b', "' + field + b'": ' + crowd + b"}"
        with pytest.raises(InvalidRequest, match="elements"):
            BY_ENDPOINT[endpoint].parse(raw)


def test_chat_says_which_images_it_wants() -> None:
    request = parse("chat", modalities=["image", "text"], image_config={"aspect_ratio": "1:1", "image_size": "2K"})
    assert (request.makes_images, request.image_size) == (True, "2K")
    assert not parse("chat", modalities=["text"]).makes_images
    with pytest.raises(UnsupportedField) as refused:
        parse("chat", image_config={"image_size": "16K"})
    assert refused.value.param == "image_config.image_size"
    with pytest.raises(UnsupportedField):
        parse("chat", modalities=["text", "audio"])
    with pytest.raises(InvalidRequest):
        parse("chat", modalities="text")


@pytest.mark.parametrize(
    ("quality", "known", "adapted"),
    [
        ("standard", "auto", ("quality: standard -> auto",)),
        ("hd", "high", ("quality: hd -> high",)),
        ("low", "low", ()),
        ("medium", "medium", ()),
        ("high", "high", ()),
        ("auto", "auto", ()),
        (None, "auto", ()),
    ],
)
def test_image_qualities_of_the_earlier_generation_are_mapped(
    quality: str | None, known: str, adapted: tuple[str, ...]
) -> None:
    request = parse("images", quality=quality)
    assert (request.image_size, request.adapted, request.makes_images) == (known, adapted, True)


@pytest.mark.parametrize("size", ["auto", "1024x1024", "1536x1024", "1024x1536", "256x256", None])
def test_image_sizes_within_the_bound_are_served(size: str | None) -> None:
    assert parse("images", size=size).n == 1


@pytest.mark.parametrize(("field", "value"), [("size", "4096x4096"), ("size", "big"), ("quality", "ultra")])
def test_image_options_without_a_bound_are_refused(field: str, value: str) -> None:
    with pytest.raises(UnsupportedField) as refused:
        parse("images", **{field: value})
    assert refused.value.param == field


def test_a_stream_draws_one_image() -> None:
    request = parse("images", stream=True, partial_images=3)
    assert (request.is_stream, request.drafts, parse("images", stream=True).drafts) == (True, 3, 0)
    with pytest.raises(InvalidRequest) as refused:
        parse("images", stream=True, n=2)
    assert refused.value.param == "n"


TEXT = st.text(alphabet='a"\\\u0000\u00e9\ud800\U0001f600', max_size=8)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
KNOWN_NAMES = st.sampled_from(
    ["model", "messages", "input", "prompt", "max_tokens", "tools", "stream", "stream_options", "n", "content", "type",
     "image_url", "source", "file", "tool_choice", "context_management", "thinking", "modalities", "image_config",
     "quality", "size", "system", "prompt_cache_key", "service_tier", "output", "edits"]
)  # fmt: skip
BLOCKS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image", "image_url", "document", "file", "input_image", "input_file",
                              "tool_result", "function_call_output", "item_reference", "web_search", "function"])},
    optional={"content": ANYTHING, "source": ANYTHING, "image_url": ANYTHING, "file": ANYTHING, "output": ANYTHING,
              "file_data": ANYTHING, "tools": ANYTHING},
)  # fmt: skip
TURN = st.fixed_dictionaries({"role": st.just("user")}, optional={"content": ANYTHING | st.lists(BLOCKS, max_size=3)})
MESSAGES = st.lists(TURN | BLOCKS, max_size=3)
WILD = st.fixed_dictionaries(
    {"model": st.just("m"), "max_tokens": st.just(5)},
    optional={"messages": MESSAGES, "input": MESSAGES, "tools": st.lists(BLOCKS, max_size=3), "prompt": ANYTHING},
)


@every_endpoint
@relaxed
@given(fields=st.dictionaries(KNOWN_NAMES, ANYTHING, max_size=5) | WILD)
def test_whatever_json_comes_only_gateway_errors_go(endpoint: str, fields: dict[str, Any]) -> None:
    dialect = BY_ENDPOINT[endpoint]
    with contextlib.suppress(GatewayError):
        request = dialect.parse(json.dumps({**MINIMAL[endpoint], **fields}).encode())
        upstream = dialect.upstream_body(request, upstream_model="theirs", max_tokens=7, account_tag="acc")
        assert json.loads(upstream)["model"] == "theirs"


@every_endpoint
@relaxed
@given(raw=st.binary(max_size=200))
def test_whatever_bytes_come_only_gateway_errors_go(endpoint: str, raw: bytes) -> None:
    dialect = BY_ENDPOINT[endpoint]
    for candidate in (raw, b"{" + raw + b"}", body(endpoint)[:-1] + b', "x": "' + raw + b'"}'):
        with contextlib.suppress(GatewayError):
            dialect.parse(candidate)
