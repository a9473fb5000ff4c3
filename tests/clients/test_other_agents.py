"""Agents beside Claude Code and Codex: each writes a file, reads it and edits it."""

from __future__ import annotations

import json
from typing import Final

from tests.clients.rig import CLIENTS, MODULES, Workplace, bills, scripted
from tests.flows.rig import Person

OPENCODE: Final = MODULES / "opencode-linux-x64" / "bin" / "opencode"
QWEN: Final = MODULES / ".bin" / "qwen"
LLM: Final = CLIENTS / "python" / "bin" / "llm"


def test_qwen_code(alice: Person, workplace: Workplace) -> None:
    path = str(workplace.note)
    task = scripted(
        ("write_file", {"file_path": path, "content": "one\ntwo\n"}),
        ("read_file", {"file_path": path}),
        ("edit", {"file_path": path, "old_string": "two", "new_string": "three"}),
    )
    ran = workplace.run(
        ["node", QWEN, "--yolo", "-p", task],
        OPENAI_API_KEY=alice.key,
        OPENAI_BASE_URL=f"{alice.server.url}/v1/managed",
        OPENAI_MODEL="qwen3-7-plus",
    )
    assert ran.status == 0, ran.out
    assert workplace.note.read_text() == "one\nthree\n"
    records = bills(alice)
    assert len(records) >= 4
    assert {(record["endpoint"], record["status"]) for record in records} == {("chat", "succeeded")}


def test_opencode(alice: Person, workplace: Workplace) -> None:
    """It sends `max_tokens` to every model, and its session in headers of its own."""
    options = {"baseURL": f"{alice.server.url}/v1/managed", "apiKey": alice.key}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "Hypereal",
        "options": options,
        "models": {"kimi-latest": {"name": "Kimi"}},
    }
    settings = {
        "autoupdate": False,
        "share": "disabled",
        "model": "hypereal/kimi-latest",
        "provider": {"hypereal": provider},
    }
    (workplace.folder / "opencode.json").write_text(json.dumps(settings))
    path = str(workplace.note)
    task = scripted(
        ("write", {"filePath": path, "content": "one\ntwo\n"}),
        ("read", {"filePath": path}),
        ("edit", {"filePath": path, "oldString": "two", "newString": "three"}),
    )
    ran = workplace.run(
        [OPENCODE, "run"], stdin=task, OPENCODE_DISABLE_AUTOUPDATE="1", OPENCODE_DISABLE_MODELS_FETCH="1"
    )
    assert ran.status == 0, ran.out
    assert workplace.note.read_text() == "one\nthree\n", ran.out
    records = bills(alice)
    assert len(records) >= 4
    assert {(record["endpoint"], record["status"]) for record in records} == {("chat", "succeeded")}
    assert "" not in {record["session_id"] for record in records}


def test_llm(alice: Person, workplace: Workplace) -> None:
    settings = workplace.home / "llm"
    settings.mkdir()
    model = {"model_id": "kimi", "model_name": "kimi-latest", "api_base": f"{alice.server.url}/v1/managed"}
    (settings / "extra-openai-models.yaml").write_text(
        json.dumps([{**model, "supports_schema": True, "api_key_name": "hypereal"}])
    )
    (settings / "keys.json").write_text(json.dumps({"hypereal": alice.key}))
    said = workplace.run([LLM, "-m", "kimi", "Say hello."], LLM_USER_PATH=str(settings))
    assert (said.status, "simulator" in said.out) == (0, True), said.out
    made = workplace.run(
        [LLM, "-m", "kimi", "--no-stream", "--schema", "name, age int", "Invent a dog."], LLM_USER_PATH=str(settings)
    )
    assert made.status == 0, made.out
    assert set(json.loads(made.out)) == {"name", "age"}
    assert {record["status"] for record in bills(alice)} == {"succeeded"}
