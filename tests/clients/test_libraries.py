"""Libraries that agents are made of: three tool calls each, over every dialect that they speak."""

from __future__ import annotations

import json
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from tests.clients.rig import CLIENTS, PYTHON, Workplace, bills, scripted
from tests.flows.rig import Person

PROGRAMS: Final = Path(__file__).resolve().parent / "programs"
CALLS: Final = [
    ("write_note", {"text": "one"}),
    ("read_note", {"text": "all of it"}),
    ("edit_note", {"text": "über „3“ \\ { }"}),
]
ENDPOINTS: Final = {
    "openai_sdk.mjs": ["chat", "responses"],
    "anthropic_sdk.mjs": ["messages"],
    "vercel_ai.mjs": ["chat", "responses", "messages"],
    "langchain_agent.py": ["chat", "messages"],
}


def run_program(workplace: Workplace, person: Person, name: str, model: str) -> Any:
    """What the program printed. A module is looked for from where its program lies."""
    program = CLIENTS / name
    shutil.copyfile(PROGRAMS / name, program)
    prompt = scripted(*CALLS)
    interpreter: str | Path = PYTHON if name.endswith(".py") else "node"
    ran = workplace.run([interpreter, program, person.server.url, prompt, model], HYPEREAL_API_KEY=person.key)
    assert ran.status == 0, ran.out
    # Beside it stand warnings of the library's.
    return json.loads(next(line for line in ran.out.splitlines() if line.startswith("{")))


@pytest.mark.parametrize("model", ["gpt-5-5", "claude-sonnet-4-7", "kimi-latest"])
@pytest.mark.parametrize("name", ENDPOINTS)
def test_three_tool_calls(alice: Person, workplace: Workplace, name: str, model: str) -> None:
    told = run_program(workplace, alice, name, model)
    for endpoint in ENDPOINTS[name]:
        assert [tuple(call) for call in told[endpoint]["calls"]] == CALLS, endpoint
        assert "done" in told[endpoint]["text"]
    records = bills(alice)
    assert [record["endpoint"] for record in records] == [each for each in ENDPOINTS[name] for _ in range(4)]
    assert {(record["status"], record["model"]) for record in records} == {("succeeded", model)}
    for endpoint in ENDPOINTS[name]:
        if "credits" in told[endpoint]:
            charged = sum(Decimal(str(each["credits_charged"])) for each in records if each["endpoint"] == endpoint)
            assert Decimal(str(told[endpoint]["credits"])) == pytest.approx(charged, abs=Decimal("0.0000001"))
    if "counted" in told:
        assert told["counted"]["input_tokens"] > 0
