"""What `/metrics` says of calls that were made, and that docs/metrics.md lists all of it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.flows.endpoints import CHAT
from tests.flows.rig import Person, Server, eventually, http

LIST = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


def exposed(server: Server) -> str:
    return http.get(f"{server.url}/metrics").text


def value(server: Server, line: str) -> int:
    """The value behind a name and its labels; 0 where it is not there."""
    found = re.search(rf"^{re.escape(line)} (\d+)$", exposed(server), re.MULTILINE)
    return int(found[1]) if found else 0


def test_a_call_is_counted_once_with_its_model_and_route(server: Server, alice: Person) -> None:
    place = f'model="{CHAT.model}",route="simulator:{CHAT.model}"'
    lines = (
        f'hypereal_calls_served_total{{{place},outcome="succeeded"}}',
        f"hypereal_first_byte_seconds_count{{{place}}}",
        f"hypereal_queue_wait_seconds_count{{{place}}}",
    )
    before = [value(server, line) for line in lines]
    assert alice.call(CHAT.path, CHAT.body("Hello!")).status == 200
    eventually(lambda: [value(server, line) for line in lines] == [count + 1 for count in before])
    assert value(server, f"hypereal_calls_in_flight{{{place}}}") == 0


def test_refusals_are_counted_though_not_all_are_logged(server: Server, alice: Person) -> None:
    limited = alice.another_key("--rpm", 1)
    line = 'hypereal_calls_refused_total{model="",route="",code="key_rpm"}'
    line_of_model = f'hypereal_calls_refused_total{{model="{CHAT.model}",route="",code="key_rpm"}}'
    before = value(server, line) + value(server, line_of_model)
    replies = [limited.call(CHAT.path, CHAT.body("Hello!")).outcome for _ in range(15)]
    assert replies.count("key_rpm") == 14
    eventually(lambda: value(server, line) + value(server, line_of_model) == before + 14)


def test_a_model_that_nobody_has_is_no_label(server: Server, alice: Person) -> None:
    body = {**CHAT.body("Hello!"), "model": "no-such-model-anywhere"}
    assert alice.call(CHAT.path, body).code == "model_not_found"
    assert "no-such-model-anywhere" not in exposed(server)


def test_the_list_of_metrics_is_the_one_that_is_exposed(server: Server) -> None:
    names = set(re.findall(r"^# TYPE (\S+)", exposed(server), re.MULTILINE))
    rows = [row for row in LIST.read_text().splitlines() if row.startswith("| `")]
    shown = [row for row in rows if not (server.is_embedded and "(not embedded)" in row)]
    assert names == {row.split("`")[1] for row in shown}
