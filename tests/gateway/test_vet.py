"""The step that judges calls to CLI-only models: cheap for who is known, bounded for who loops, 503 without a store."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from apps.accounts.cache import AccountSnapshot
from apps.core.errors import GatewayError
from apps.core.ids import new_id
from apps.dialects.registry import BY_ENDPOINT
from apps.gateway import vet as vet_module
from apps.gateway import vetted
from apps.gateway.call import Call, read_head
from apps.gateway.stores import Stores
from apps.gateway.vet import may_count_upstream, vet
from apps.gateway.vetted import Remembered, Vetted
from apps.keys.cli.verdict import Finding, Sign
from apps.keys.cli.violations import Incident, Outcome
from apps.keys.rules import Client, KeyRefused, KeySnapshot
from tests.clients.claude_code import Install, Sent
from tests.gateway.rig import ACCOUNT_ID, KEY, MODEL

MESSAGES = BY_ENDPOINT["messages"]
CLI_ONLY = replace(MODEL, model_id="claude-opus-4-7-max", cli_only=True)
CURL = Install().turn().but(user_agent="curl/8")


class House:
    """Stores that count how often the database is asked, and say what a test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.model = CLI_ONLY
        self.account: Any = SimpleNamespace(account_id=ACCOUNT_ID, is_frozen=False)
        self.looks = 0
        self.incidents: list[Incident] = []
        self.finding: Finding | None = None
        self.consequence = "struck"
        self.failure: Exception | None = None
        self.now = 1_000.0
        self.stores = cast(
            Stores,
            SimpleNamespace(
                catalog=SimpleNamespace(get=lambda _: self.model),
                accounts=SimpleNamespace(get=lambda _: cast(AccountSnapshot, self.account)),
                vetted=Vetted(),
                key_pepper="salt",
                in_thread=self._in_thread,
            ),
        )
        monkeypatch.setattr(vet_module, "see", lambda seen, *, now: self.finding)
        monkeypatch.setattr(vet_module, "record_violation", self._record)
        monkeypatch.setattr(vetted, "monotonic", lambda: self.now)

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        self.looks += 1
        if self.failure is not None:
            raise self.failure
        return work()

    def _record(self, incident: Incident, *, now: object) -> Outcome:
        self.incidents.append(incident)
        return Outcome(new_id(), self.consequence, strike=int(self.consequence == "struck"))

    async def vet(self, sent: Sent, *, key: KeySnapshot = KEY) -> None:
        call, request = head_of(sent), MESSAGES.parse(json.dumps(sent.body).encode())
        await vet(call, request, key=key, client=Client("192.0.2.7", ""), stores=self.stores)

    async def refusal(self, sent: Sent) -> GatewayError:
        with pytest.raises(GatewayError) as refused:
            await self.vet(sent)
        return refused.value


def head_of(sent: Sent) -> Call:
    scope = {
        "headers": list(sent.raw_headers.items()),
        "path": sent.path,
        "method": "POST",
        "client": ("192.0.2.7", 1),
        "query_string": sent.query.encode(),
    }
    return read_head(scope, dialect=MESSAGES)


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    return House(monkeypatch)


async def test_a_known_caller_costs_no_look_into_the_database(house: House) -> None:
    install = Install()
    for _ in range(50):
        await house.vet(install.turn())
        await house.vet(install.title())
    assert house.looks == 1
    await house.vet(replace(install, session="11111111-2222-4333-8444-555555555555").turn())
    assert house.looks == 2
    await house.vet(install.turn(), key=replace(KEY, key_id=new_id()))
    assert house.looks == 3


async def test_a_known_caller_is_written_down_again_after_an_hour(house: House) -> None:
    install = Install()
    await house.vet(install.turn())
    house.now += vetted.SEEN_S
    await house.vet(install.turn())
    assert house.looks == 2


async def test_other_models_are_open_to_everybody(house: House) -> None:
    house.model = replace(CLI_ONLY, cli_only=False)
    await house.vet(CURL)
    assert (house.looks, house.incidents) == (0, [])


async def test_a_frozen_account_is_told_so_and_not_judged(house: House) -> None:
    house.account.is_frozen = True
    assert (await house.refusal(CURL)).code == "account_frozen"
    assert house.incidents == []


async def test_what_contradicts_earlier_sightings_is_refused_each_time(house: House) -> None:
    house.finding = Finding(Sign.REPLAY, "its session was used on another device before")
    install = Install()
    for _ in range(3):
        refused = await house.refusal(install.turn())
        assert isinstance(refused, KeyRefused)
        assert "on another device before" in refused.message
    assert [incident.verdict.findings[0].sign for incident in house.incidents] == [Sign.REPLAY] * 3
    assert house.looks == 4  # one look back, three strikes


@pytest.mark.parametrize("consequence", ["recorded", "blocked"])
async def test_who_loops_without_a_consequence_is_written_down_once(house: House, consequence: str) -> None:
    house.consequence = consequence
    house.model = replace(CLI_ONLY, enforces_cli=consequence == "blocked")
    for number in range(20):
        sent = CURL.but(user_agent=f"curl/8.{number}")
        if consequence == "recorded":
            await house.vet(sent)
        else:
            assert (await house.refusal(sent)).code == "cli_only_model"
    assert len(house.incidents) == 1
    house.account = SimpleNamespace(account_id=ACCOUNT_ID, is_frozen=False)  # something about it changed
    house.consequence = "suspended"
    assert "now suspended" in (await house.refusal(CURL)).message
    assert len(house.incidents) == 2


async def test_without_a_store_nobody_is_judged(house: House) -> None:
    house.failure = OSError("connection refused")
    for sent in (Install().turn(), CURL):
        refused = await house.refusal(sent)
        assert (refused.code, refused.status, refused.retry_after_s) == ("store_unavailable", 503, 2)
    house.failure = None
    await house.vet(Install().turn())


async def test_evidence_has_no_id_and_no_word_of_the_prompt(house: House) -> None:
    install = Install()
    sent = install.turn("a canary in the prompt").but(
        without=("x-app",), cookie="secret=1", authorization="Bearer ck_1"
    )
    await house.refusal(sent)
    kept = json.dumps(house.incidents[0].evidence)
    for hidden in (install.device, install.session, "canary", "secret=1", "ck_1"):
        assert hidden not in kept
    assert {"cookie", "authorization"} <= set(cast(list[str], house.incidents[0].evidence["headers"]))
    assert house.incidents[0].evidence["session"] == house.incidents[0].evidence["body_session"] is not None


def test_counts_go_upstream_for_the_cli_alone(house: House) -> None:
    for sent, may in ((Install().count(), True), (Install().count().but(user_agent="curl/8"), False)):
        request = MESSAGES.parse(json.dumps({**sent.body, "max_tokens": 1}).encode())
        assert may_count_upstream(head_of(sent), request, CLI_ONLY) == may
        assert may_count_upstream(head_of(sent), request, MODEL)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vetted, "MAX_KNOWN", 3)
    facts: Remembered[int] = Remembered()
    for number in range(5):
        facts.keep(number, number, seconds=60)
    facts.keep(4, 40, seconds=60)
    assert [facts.get(number) for number in range(5)] == [None, None, (2,), (3,), (40,)]
