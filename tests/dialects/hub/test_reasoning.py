"""Seals travel through foreign dialects as one string, verbatim."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from apps.dialects.hub.reasoning import Seal, unwrap, wrap
from tests.dialects.bodies import relaxed

names = st.sampled_from(["anthropic", "openai", "gemini", "chat"])


@relaxed
@given(names, st.sampled_from(["signature", "encrypted"]), st.text(), st.text())
def test_a_seal_survives_whatever_its_payload_and_item_id_are(
    family: str, kind: str, payload: str, item_id: str
) -> None:
    seal = Seal(family, kind, payload, item_id)
    assert unwrap(wrap(seal)) == seal


def test_the_payload_stands_last_and_verbatim() -> None:
    assert wrap(Seal("gemini", "encrypted", "Ci.Q+/=", "call_7.a")) == "hypereal.gemini.encrypted~call_7%2Ea.Ci.Q+/="


def test_a_dialects_own_value_is_no_seal() -> None:
    assert unwrap("EqQBCgIYAhIM1gbcDa9GJwZA2b3h") is None
    assert unwrap("hypereal.only") is None
