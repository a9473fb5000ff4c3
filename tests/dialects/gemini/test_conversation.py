"""A Conversation as a generateContent request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from msgspec import Raw

from apps.dialects.gemini.answer import read_answer
from apps.dialects.gemini.conversation import path_of, write_conversation
from apps.dialects.hub.conversation import (
    CacheMark,
    Conversation,
    Document,
    Image,
    OutputFormat,
    Part,
    Reasoning,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Tuning,
    Turn,
)
from apps.dialects.hub.reasoning import Seal
from tests.dialects.bodies import relaxed
from tests.dialects.gemini.test_answer import chunk, shown_parts


def body(conversation: Conversation, max_tokens: int | None = None) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(write_conversation(conversation, max_tokens=max_tokens))
    return decoded


def contents(*turns: Turn) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = body(Conversation(list(turns)))["contents"]
    return written


def user(*parts: Part) -> Turn:
    return Turn("user", list(parts), "messages[1]")


def model(*parts: Part) -> Turn:
    return Turn("assistant", list(parts), "messages[2]")


def seal(payload: str, part: str = "") -> Seal:
    return Seal("gemini", "encrypted", payload, part)


def config(**fields: Any) -> dict[str, Any]:
    shown: dict[str, Any] = body(Conversation([user(Text("x"))], **fields))["generationConfig"]
    return shown


def test_the_path_names_the_model_and_whether_to_stream() -> None:
    assert path_of("gemini-3-flash", is_stream=False) == "/models/gemini-3-flash:generateContent"
    assert path_of("gemini-3-flash", is_stream=True) == "/models/gemini-3-flash:streamGenerateContent?alt=sse"


def test_instructions_go_to_the_front_wherever_they_stood() -> None:
    conversation = Conversation(
        [
            Turn("system", [Text("Be brief.")], "messages[0]"),
            user(Text("Hi")),
            Turn("developer", [Text("In French.")], "messages[2]"),
            user(Text("Go on.")),
        ]
    )
    written = body(conversation)
    assert written["systemInstruction"] == {"parts": [{"text": "Be brief."}, {"text": "In French."}]}
    assert written["contents"] == [{"role": "user", "parts": [{"text": "Hi"}, {"text": "Go on."}]}]
    assert conversation.adapted == ["messages[2] developer: moved to the front"]


def test_instructions_alone_are_what_the_user_says() -> None:
    written = body(Conversation([Turn("system", [Text("Tell a joke.")])]))
    assert written["contents"] == [{"role": "user", "parts": [{"text": "Tell a joke."}]}]
    assert "systemInstruction" not in written


def test_images_and_documents_are_inline_data_or_files_by_address() -> None:
    [content] = contents(
        user(
            Text("Look"),
            Image("image/png", "iVBO"),
            Image(url="https://example.com/a.JPG?x=1"),
            Document("application/pdf", "JVBE", name="a.pdf"),
            Document(url="https://example.com/a"),
            Document(text="plain", name="notes.txt"),
        )
    )
    assert content["parts"] == [
        {"text": "Look"},
        {"inlineData": {"mimeType": "image/png", "data": "iVBO"}},
        {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://example.com/a.JPG?x=1"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBE"}},
        {"fileData": {"mimeType": "application/pdf", "fileUri": "https://example.com/a"}},
        {"text": "notes.txt"},
        {"text": "plain"},
    ]


def test_results_name_their_tools_and_stand_together_before_all_else() -> None:
    written = contents(
        model(ToolCall("c1", "shot", ""), ToolCall("c2", "read", '{"a":  1}')),
        user(Text("Go on."), ToolResult("c1", [Text("done"), Image("image/png", "iVBO")])),
        user(ToolResult("c2", [Text("no such file")], is_error=True)),
    )
    assert [content["role"] for content in written] == ["model", "user"]
    assert [part["functionCall"] for part in written[0]["parts"]] == [
        {"id": "c1", "name": "shot", "args": {}},
        {"id": "c2", "name": "read", "args": {"a": 1}},
    ]
    assert written[1]["parts"] == [
        {"functionResponse": {"id": "c1", "name": "shot", "response": {"output": "done"}}},
        {"functionResponse": {"id": "c2", "name": "read", "response": {"error": "no such file"}}},
        {"text": "What tool call c1 returned beside its text:"},
        {"inlineData": {"mimeType": "image/png", "data": "iVBO"}},
        {"text": "Go on."},
    ]


def test_every_signature_stands_on_its_own_part_again() -> None:
    [content] = contents(
        model(
            Thinking("Hm", seal("s0"), is_summary=True),
            Text("One."),
            Thinking(seal=seal("s1", "end:0")),
            Thinking(seal=seal("s2", "image:0")),
            Image("image/jpeg", "/9j/"),
            Text("Two."),
            Thinking(seal=seal("s3", "text:1")),
            Thinking(seal=seal("s4", "c1")),
            ToolCall("c1", "f", "{}"),
        )
    )
    assert content["parts"] == [
        {"text": "Hm", "thought": True, "thoughtSignature": "s0"},
        {"text": "One."},
        {"text": "", "thoughtSignature": "s1"},
        {"inlineData": {"mimeType": "image/jpeg", "data": "/9j/"}, "thoughtSignature": "s2"},
        {"text": "Two.", "thoughtSignature": "s3"},
        {"functionCall": {"id": "c1", "name": "f", "args": {}}, "thoughtSignature": "s4"},
    ]


def test_signatures_of_texts_that_a_client_joined_stand_behind_the_text() -> None:
    [content] = contents(model(Thinking(seal=seal("s3", "text:1")), Text("One.Two.")))
    assert content["parts"] == [{"text": "One.Two."}, {"text": "", "thoughtSignature": "s3"}]


def test_what_other_providers_sealed_is_left_out_whole() -> None:
    conversation = Conversation([model(Thinking("Hm", Seal("anthropic", "signature", "Eq=")), Text("4"))])
    assert body(conversation)["contents"] == [{"role": "model", "parts": [{"text": "4"}]}]
    assert conversation.adapted == ["reasoning of another provider: left out"]


def test_calls_that_lost_their_signature_say_so() -> None:
    conversation = Conversation([model(ToolCall("c1", "f", "{}"), ToolCall("c2", "g", "{}"))])
    [content] = body(conversation)["contents"]
    assert [part.get("thoughtSignature") for part in content["parts"]] == ["skip_thought_signature_validator", None]
    assert conversation.adapted == ["tool calls without a thought signature: sent as such"]


def test_arguments_that_are_no_object_are_still_told() -> None:
    [content] = contents(model(ToolCall("c1", "f", "{broken"), ToolCall("c2", "p", "*** Begin", is_custom=True)))
    assert [part["functionCall"]["args"] for part in content["parts"]] == [
        {"arguments": "{broken"},
        {"input": "*** Begin"},
    ]
    assert contents(model(Refusal("No.")))[0]["parts"] == [{"text": "No."}]


def test_tools_are_declared_with_their_schemas() -> None:
    written = body(Conversation([], tools=[Tool("f", "does f", Raw(b'{"type":"object"}')), Tool("g")]))
    assert written["tools"] == [
        {
            "functionDeclarations": [
                {"name": "f", "description": "does f", "parametersJsonSchema": {"type": "object"}},
                {"name": "g", "description": ""},
            ]
        }
    ]


@pytest.mark.parametrize(
    ("choice", "calling", "declared"),
    [
        (ToolChoice("auto"), {"mode": "AUTO"}, ["f", "g"]),
        (ToolChoice("none"), {"mode": "NONE"}, ["f", "g"]),
        (ToolChoice("required"), {"mode": "ANY"}, ["f", "g"]),
        (ToolChoice("tool", ("f",)), {"mode": "ANY", "allowedFunctionNames": ["f"]}, ["f", "g"]),
        (ToolChoice("allowed", ("g",)), {"mode": "AUTO"}, ["g"]),
        (ToolChoice("allowed", ("g",), must_call=True), {"mode": "ANY", "allowedFunctionNames": ["g"]}, ["g"]),
    ],
)
def test_tool_choices(choice: ToolChoice, calling: dict[str, Any], declared: list[str]) -> None:
    written = body(Conversation([], tools=[Tool("f"), Tool("g")], tool_choice=choice))
    assert written["toolConfig"] == {"functionCallingConfig": calling}
    assert [tool["name"] for tool in written["tools"][0]["functionDeclarations"]] == declared


def test_the_whole_configuration() -> None:
    assert config(
        max_tokens=100,
        stop=("END",),
        n=2,
        logprobs=3,
        tuning=Tuning(0.5, 0.9, 40, 7, 0.1, 0.2),
        output_format=OutputFormat("schema", Raw(b'{"type":"object"}')),
    ) == {
        "maxOutputTokens": 100,
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 40,
        "seed": 7,
        "presencePenalty": 0.1,
        "frequencyPenalty": 0.2,
        "stopSequences": ["END"],
        "candidateCount": 2,
        "responseLogprobs": True,
        "logprobs": 3,
        "responseMimeType": "application/json",
        "responseJsonSchema": {"type": "object"},
        "responseModalities": ["TEXT"],
    }
    assert config(output_format=OutputFormat("json")) == {
        "responseMimeType": "application/json",
        "responseModalities": ["TEXT"],
    }
    assert body(Conversation([], max_tokens=100), max_tokens=40)["generationConfig"]["maxOutputTokens"] == 40


def test_images_are_asked_for_only_where_the_caller_did() -> None:
    assert config(makes_images=True, image_aspect="1:1", image_size="1K") == {
        "responseModalities": ["TEXT", "IMAGE"],
        "imageConfig": {"aspectRatio": "1:1", "imageSize": "1K"},
    }
    assert config(makes_images=True) == {"responseModalities": ["TEXT", "IMAGE"]}
    assert config() == {"responseModalities": ["TEXT"]}


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        (Reasoning(effort="low"), {"thinkingLevel": "low", "includeThoughts": True}),
        (Reasoning(effort="max"), {"thinkingLevel": "high", "includeThoughts": True}),
        (Reasoning(effort="low", summary="omitted"), {"thinkingLevel": "low", "includeThoughts": False}),
        (Reasoning(effort="none"), {"thinkingBudget": 0}),
        (Reasoning(False), {"thinkingBudget": 0}),
        (Reasoning(True, 2048), {"thinkingBudget": 2048, "includeThoughts": True}),
        (Reasoning(True), {"includeThoughts": True}),
        (Reasoning(), None),
    ],
)
def test_levels_are_said_as_levels_and_budgets_as_budgets(wanted: Reasoning, shown: dict[str, Any] | None) -> None:
    assert config(reasoning=wanted).get("thinkingConfig") == shown


def test_what_gemini_cannot_say_is_named() -> None:
    conversation = Conversation(
        [user(Text("x", CacheMark()), Image("image/png", "iVBO", detail="high"))],
        tools=[Tool("f")],
        parallel_tools=False,
        tuning=Tuning(temperature=3, verbosity="low", user="u1"),
        reasoning=Reasoning(effort="xhigh"),
        names={"parallel_tools": "parallel_tool_calls", "reasoning": "reasoning_effort"},
    )
    body(conversation)
    assert conversation.adapted == [
        "verbosity: left out",
        "user: left out",
        "cache_control: left out",
        "image detail: left out",
        "parallel_tool_calls: left out",
        "temperature: 3 -> 2",
        "reasoning_effort: xhigh -> high",
    ]


@relaxed
@given(shown_parts())
def test_an_answer_that_is_sent_back_is_byte_for_byte_what_the_model_said(made: list[dict[str, Any]]) -> None:
    """But for thoughts that nobody signed, which the provider does not want back."""
    [choice] = read_answer(json.dumps(chunk(*made, finish="STOP")).encode()).choices
    written = contents(Turn("assistant", list(choice.parts)))
    kept = [part for part in made if not part.get("thought") or "thoughtSignature" in part]
    if not kept:
        return
    [content] = written
    has_calls = any("functionCall" in part for part in made)
    is_signed = any("functionCall" in part and "thoughtSignature" in part for part in made)
    if has_calls and not is_signed:
        first = next(part for part in content["parts"] if "functionCall" in part)
        assert first.pop("thoughtSignature") == "skip_thought_signature_validator"
    assert content["parts"] == kept
