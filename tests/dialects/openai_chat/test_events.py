"""A chat stream as hub events, whatever its provider makes of the protocol."""

from __future__ import annotations

from typing import Any

from apps.core.tokens import TokenUsage
from apps.dialects.hub.answer import Answer, AnswerPart, Choice, Ending
from apps.dialects.hub.conversation import Image, Refusal, Text, Thinking, ToolCall
from apps.dialects.hub.reasoning import Seal
from apps.dialects.openai_chat.events import ChatReader
from tests.dialects.bodies import frames
from tests.dialects.hub.streams import Collector, read_stream

ENVELOPE = {"id": "chatcmpl-1", "created": 1700000000, "object": "chat.completion.chunk", "model": "theirs"}
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


def chunk(*choices: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**ENVELOPE, "choices": list(choices), **more}


def delta(index: int = 0, **said: Any) -> dict[str, Any]:
    return chunk({"index": index, "delta": said, "finish_reason": None})


def end(reason: str = "stop", index: int = 0, **more: Any) -> dict[str, Any]:
    return chunk({"index": index, "delta": {}, "finish_reason": reason}, **more)


def collect(*events: dict[str, Any] | str, n: int = 1) -> Collector:
    return read_stream(ChatReader(n=n), frames(*events))


def answer(*events: dict[str, Any] | str, n: int = 1) -> Answer:
    collector = collect(*events, "[DONE]", n=n)
    assert collector.is_done
    return collector.collected()


def parts(*events: dict[str, Any] | str) -> list[AnswerPart]:
    [choice] = answer(*events, end()).choices
    return choice.parts


def call(index: int | None, id_: str | None, name: str | None, arguments: Any, **more: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    shown = {"index": index, "id": id_, "type": "function", "function": function, **more}
    return delta(tool_calls=[{name: value for name, value in shown.items() if value is not None}])


def test_text_comes_in_one_block_whatever_stands_between_its_pieces() -> None:
    made = answer(
        delta(role="assistant", content=""),
        delta(content="Hel"),
        delta(role="assistant", content="lo"),
        delta(content=""),
        end(),
        chunk(usage=USAGE),
    )
    assert made == Answer("chatcmpl-1", [Choice([Text("Hello")], Ending("end", native="stop"))],
                          TokenUsage(input=5, output=7), 1700000000)  # fmt: skip


def test_empty_choices_before_the_answer_say_nothing() -> None:
    assert parts({"id": "", "choices": [], "prompt_filter_results": []}, delta(content="Hi")) == [Text("Hi")]


def test_reasoning_comes_under_either_of_its_names_and_ends_where_the_text_begins() -> None:
    assert parts(delta(reasoning_content="a"), delta(reasoning_content="b"), delta(content="c")) == [
        Thinking("ab"),
        Text("c"),
    ]
    assert parts(delta(reasoning="a", content=""), delta(reasoning=None, content="c")) == [Thinking("a"), Text("c")]
    assert parts(delta(reasoning="a", reasoning_content="a")) == [Thinking("a")]


def test_details_seal_the_thought_that_they_repeat() -> None:
    def detail(**entry: Any) -> list[dict[str, Any]]:
        return [{"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0, **entry}]

    made = parts(
        delta(reasoning="We ", reasoning_details=detail(text="We ")),
        delta(reasoning="need", reasoning_details=detail(text="need")),
        delta(reasoning_details=detail(signature="EqQ=")),
        delta(content="Hi"),
    )
    payload = '{"type":"reasoning.text","format":"anthropic-claude-v1","signature":"EqQ="}'
    assert made == [Thinking("We need", Seal("chat", "signature", payload)), Text("Hi")]


def test_details_that_come_without_text_beside_them_are_read_themselves() -> None:
    entry = {"type": "reasoning.summary", "summary": "Hm", "format": "openai-responses-v1", "index": 0}
    hidden = {
        "type": "reasoning.encrypted",
        "data": "gAAA",
        "id": "rs_1",
        "format": "openai-responses-v1",
        "index": 0,
    }
    made = parts(delta(reasoning_details=[entry]), delta(reasoning_details=[hidden]), delta(content="Hi"))
    payload = '{"type":"reasoning.encrypted","data":"gAAA","id":"rs_1","format":"openai-responses-v1"}'
    assert made == [Thinking("Hm", Seal("chat", "encrypted", payload)), Text("Hi")]


def test_two_thoughts_under_two_indexes_stay_two() -> None:
    def thought(index: int, **entry: Any) -> dict[str, Any]:
        return delta(reasoning=entry.get("text"), reasoning_details=[
            {"type": "reasoning.text", "format": "f", "index": index, **entry}
        ])  # fmt: skip

    made = parts(
        thought(0, text="a"),
        thought(0, signature="s0"),
        thought(1, text="b"),
        thought(1, signature="s1"),
        delta(content="c"),
    )
    assert made == [
        Thinking("a", Seal("chat", "signature", '{"type":"reasoning.text","format":"f","signature":"s0"}')),
        Thinking("b", Seal("chat", "signature", '{"type":"reasoning.text","format":"f","signature":"s1"}')),
        Text("c"),
    ]


def test_parallel_calls_that_interleave_keep_their_own_arguments() -> None:
    made = parts(
        call(0, "c1", "f", ""),
        call(1, "c2", "g", ""),
        call(0, None, None, '{"a"'),
        call(1, None, None, '{"b"'),
        call(0, None, None, ":1}"),
        call(1, None, None, ":2}"),
    )
    assert made == [ToolCall("c1", "f", '{"a":1}'), ToolCall("c2", "g", '{"b":2}')]


def test_name_and_arguments_in_the_chunk_that_ends_the_text_are_not_lost() -> None:
    assert parts(delta(content="I look."), call(0, "c1", "f", '{"a":1}')) == [
        Text("I look."),
        ToolCall("c1", "f", '{"a":1}'),
    ]


def test_ids_may_be_repeated_empty_or_odd() -> None:
    assert parts(call(0, "c1", "f", ""), call(0, "", None, "{}")) == [ToolCall("c1", "f", "{}")]
    assert parts(call(0, "0", "f", ""), call(0, "0", "f", "{"), call(0, "0", "f", "}")) == [ToolCall("0", "f", "{}")]
    assert parts(call(0, "f:0", "f", None), call(0, None, None, "{}")) == [ToolCall("f:0", "f", "{}")]


def test_a_call_without_an_id_gets_one() -> None:
    [first, second] = parts(call(0, None, "f", "{}"), call(1, None, "g", "{}"))
    assert isinstance(first, ToolCall)
    assert isinstance(second, ToolCall)
    assert first.id.startswith("call_")
    assert first.id != second.id


def test_indexes_may_start_at_one_or_be_missing() -> None:
    assert parts(call(1, "c1", "f", ""), call(1, None, None, "{}")) == [ToolCall("c1", "f", "{}")]
    assert parts(call(None, "c1", "f", "{}")) == [ToolCall("c1", "f", "{}")]


def test_whole_calls_under_one_index_are_told_apart_by_their_ids() -> None:
    assert parts(call(0, "c1", "f", '{"a":1}'), call(0, "c2", "g", '{"b":2}')) == [
        ToolCall("c1", "f", '{"a":1}'),
        ToolCall("c2", "g", '{"b":2}'),
    ]


def test_arguments_that_come_before_the_name_or_as_an_object_are_kept() -> None:
    assert parts(call(0, "c1", None, '{"a"'), call(0, None, "f", ":1}")) == [ToolCall("c1", "f", '{"a":1}')]
    assert parts(call(0, "c1", "f", {"a": 1})) == [ToolCall("c1", "f", '{"a":1}')]


def test_custom_calls_and_functions_as_they_were_called_first() -> None:
    custom = [{"index": 0, "id": "c1", "type": "custom", "custom": {"name": "patch", "input": "*** "}}]
    assert parts(delta(tool_calls=custom), delta(tool_calls=[{"index": 0, "custom": {"input": "Begin"}}])) == [
        ToolCall("c1", "patch", "*** Begin", is_custom=True)
    ]
    [legacy] = parts(delta(function_call={"name": "f"}), delta(function_call={"arguments": "{}"}))
    assert isinstance(legacy, ToolCall)
    assert (legacy.name, legacy.arguments) == ("f", "{}")


def test_what_stands_beside_a_call_is_sealed_to_it() -> None:
    made = parts(call(0, "c1", "f", "{}", extra_content={"google": {"thought_signature": "CiQ="}}))
    seal = Seal("chat", "encrypted", '{"google":{"thought_signature":"CiQ="}}', "c1")
    assert made == [Thinking(seal=seal), ToolCall("c1", "f", "{}")]


def test_a_refusal_is_no_text() -> None:
    [choice] = answer(delta(content=None, refusal="I can"), delta(refusal="not."), end()).choices
    assert choice == Choice([Refusal("I cannot.")], Ending("refusal", native="stop"))


def test_images_come_whole() -> None:
    image = {"type": "image_url", "index": 0, "image_url": {"url": "data:image/jpeg;base64,/9j/"}}
    assert parts(delta(content="Here:"), delta(images=[image])) == [Text("Here:"), Image("image/jpeg", "/9j/")]


def test_log_probabilities_stay_with_their_text() -> None:
    token = {"token": "Hi", "logprob": -0.1, "bytes": None, "top_logprobs": []}
    said = chunk({"index": 0, "delta": {"content": "Hi"}, "logprobs": {"content": [token], "refusal": None}})
    [choice] = answer(said, end()).choices
    assert choice.logprobs == [token]


def test_every_choice_has_its_own_blocks_and_ending() -> None:
    made = answer(
        delta(0, content="a"), delta(1, content="b"), delta(0, content="a"), end("length", 1), end("stop", 0), n=2
    )
    assert [choice.parts for choice in made.choices] == [[Text("aa")], [Text("b")]]
    assert [choice.ending.reason for choice in made.choices] == ["end", "length"]


def test_stop_after_calls_means_that_calls_are_pending() -> None:
    [choice] = answer(call(0, "c1", "f", "{}"), end("stop")).choices
    assert choice.ending == Ending("tools", native="stop")


def test_unknown_reasons_are_kept_and_the_upstreams_own_word_too() -> None:
    [choice] = answer(delta(content="a"), end("galaxy")).choices
    assert choice.ending == Ending("other", native="galaxy")
    native = chunk({"index": 0, "delta": {}, "finish_reason": "stop", "native_finish_reason": "end_turn"})
    assert answer(delta(content="a"), native).choices[0].ending == Ending("end", native="end_turn")


def test_usage_is_found_wherever_it_stands_and_the_last_one_counts() -> None:
    counted = TokenUsage(input=5, output=7)
    assert answer(delta(content="a"), end(usage=USAGE)).usage == counted
    moonshot = chunk({"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE})
    assert answer(delta(content="a"), moonshot).usage == counted
    assert answer(delta(content="a"), end(x_groq={"id": "r", "usage": USAGE})).usage == counted
    running = {**USAGE, "completion_tokens": 3, "total_tokens": 8}
    late = chunk({"index": 0, "delta": {"content": ""}, "finish_reason": None}, usage=USAGE)
    assert answer({**delta(content="a"), "usage": running}, end(), late).usage == counted


def test_an_error_in_mid_stream_ends_it_as_a_failure() -> None:
    failed = collect(delta(content="a"), {**end("error"), "error": {"code": 502, "message": "Upstream idle"}})
    assert failed.failure is not None
    assert (failed.failure.message, failed.failure.is_overload) == ("Upstream idle", False)
    busy = collect({"error": {"code": 429, "message": "slow down"}})
    assert busy.failure is not None
    assert busy.failure.is_overload
    inner = chunk({"index": 0, "delta": {}, "finish_reason": "error", "error": {"message": "gone"}})
    assert collect(delta(content="a"), inner).failure is not None


def test_a_stream_without_done_is_complete_where_every_choice_ended() -> None:
    assert collect(delta(content="a"), end()).is_done
    assert not collect(delta(content="a")).is_done
    assert not collect(delta(0, content="a"), end(), delta(1, content="b"), n=2).is_done
    assert not collect(delta(content="a"), "[DONE]").is_done
