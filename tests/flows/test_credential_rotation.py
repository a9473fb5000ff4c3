"""A route's credential is replaced while the server runs: the next call has the new one, those under way the old."""

from __future__ import annotations

import time

import pytest

from tests.flows.conftest import AddUpstream
from tests.flows.endpoints import CHAT
from tests.flows.rig import Operator, Person
from tests.flows.upstream import Script, served


def seen(script: Script) -> list[str]:
    return [call.headers["authorization"].removeprefix("Bearer ") for call in script.calls]


def rotate(operator: Operator, route_id: str, how: str, credential: str) -> None:
    if how == "admin":
        operator.submit("upstreams_route", route_id, credential=credential)
    elif how == "command":
        operator.run("set_route", route_id, "--credential-stdin", stdin=credential + "\n")
    else:
        directory = operator.server.credential_dir
        directory.mkdir(exist_ok=True)
        (directory / "new").write_text(credential)
        (directory / "new").replace(directory / "provider")


@pytest.mark.parametrize("how", ["admin", "command", "file"])
def test_the_next_call_within_a_second_uses_the_new_credential(
    alice: Person, operator: Operator, add_upstream: AddUpstream, how: str
) -> None:
    script = add_upstream(CHAT, served(CHAT))
    rotate(operator, script.route_id, how, "sk-old")
    if how == "file":
        operator.run("set_route", script.route_id, "--credential-file", "provider")
    operator.tell_server()
    assert alice.call(CHAT.path, CHAT.body()).status == 200
    rotate(operator, script.route_id, how, "sk-new")
    time.sleep(1.0)
    assert alice.call(CHAT.path, CHAT.body()).status == 200
    assert seen(script) == ["sk-old", "sk-new"]


def test_a_call_under_way_keeps_the_credential_that_it_began_with(
    alice: Person, operator: Operator, add_upstream: AddUpstream
) -> None:
    script = add_upstream(CHAT, served(CHAT, gap_s=0.25))
    rotate(operator, script.route_id, "command", "sk-old")
    operator.tell_server()
    with alice.stream(CHAT.path, CHAT.body(stream=True)) as reply:
        lines = reply.iter_lines()
        next(lines)
        rotate(operator, script.route_id, "command", "sk-new")
        operator.tell_server()
        assert alice.call(CHAT.path, CHAT.body()).status == 200
        assert "[DONE]" in "".join(lines)
    assert seen(script) == ["sk-old", "sk-new"]
