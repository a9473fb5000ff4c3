"""Codex against `/v1/managed/responses`, as a custom provider of its configuration file."""

from __future__ import annotations

from typing import Final

import pytest

from tests.clients.rig import MODULES, Ran, Workplace, bills, scripted
from tests.flows.rig import Person

CODEX: Final = MODULES / ".bin" / "codex"
CONFIG: Final = """\
model = "{model}"
model_provider = "hypereal"
check_for_update_on_startup = false

[analytics]
enabled = false

[model_providers.hypereal]
name = "Hypereal"
base_url = "{url}/v1/managed"
env_key = "HYPEREAL_API_KEY"
wire_api = "responses"
"""


def run(workplace: Workplace, person: Person, prompt: str, *, model: str) -> Ran:
    settings = workplace.home / ".codex"
    settings.mkdir()
    (settings / "config.toml").write_text(CONFIG.format(model=model, url=person.server.url))
    options = ("--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox")
    return workplace.run([CODEX, "exec", *options, prompt], HYPEREAL_API_KEY=person.key)


@pytest.mark.parametrize("model", ["gpt-5-5", "claude-sonnet-4-7", "kimi-latest"])
def test_it_writes_reads_and_edits_a_file_and_each_call_is_billed(
    alice: Person, workplace: Workplace, model: str
) -> None:
    task = scripted(
        ("exec_command", {"cmd": "printf 'one\\ntwo\\n' > note.txt"}),
        ("exec_command", {"cmd": "cat note.txt"}),
        ("exec_command", {"cmd": "sed -i s/two/three/ note.txt"}),
    )
    ran = run(workplace, alice, task, model=model)
    assert ran.status == 0, ran.out
    assert workplace.note.read_text() == "one\nthree\n"
    records = bills(alice)
    assert len(records) == 4
    assert {(record["endpoint"], record["status"], record["model"]) for record in records} == {
        ("responses", "succeeded", model)
    }
    sessions = {record["session_id"] for record in records}
    assert (len(sessions), "" in sessions) == (1, False)
