"""What a target cannot say is refused or named; nothing is dropped in silence."""

from __future__ import annotations

import pytest

from apps.dialects.common.notes import MAX_NOTES
from apps.dialects.hub import abilities
from apps.dialects.hub.abilities import Abilities
from apps.dialects.hub.conversation import Conversation, OutputFormat, Tool, ToolChoice, Tuning
from apps.dialects.hub.effort import EFFORTS, budget_of, effort_of, nearest_effort
from apps.dialects.protocol import UnsupportedField

NOTHING = Abilities(meaning=frozenset(), tuning=frozenset())


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (Conversation([], stop=("END",), names={"stop": "stop_sequences"}), "stop_sequences"),
        (Conversation([], n=2), "n"),
        (Conversation([], logprobs=0), "logprobs"),
        (
            Conversation([], output_format=OutputFormat("json"), names={"output_format": "response_format"}),
            "response_format",
        ),
        (Conversation([], tool_choice=ToolChoice("required")), "tool_choice"),
        (Conversation([], tools=[Tool("grep", is_custom=True)]), "tools"),
        (Conversation([], makes_images=True, names={"makes_images": "modalities"}), "modalities"),
    ],
)
def test_meaning_that_the_target_cannot_say_is_refused_by_the_callers_name(asked: Conversation, field: str) -> None:
    with pytest.raises(UnsupportedField) as refused:
        abilities.check(asked, NOTHING)
    assert refused.value.param == field


def test_tuning_that_the_target_lacks_is_left_out_and_named() -> None:
    asked = Conversation([], tuning=Tuning(top_k=5, user="u1"), unread=("min_p",), names={"user": "safety_identifier"})
    abilities.check(asked, NOTHING)
    assert asked.adapted == ["top_k: left out", "safety_identifier: left out", "min_p: left out"]


def test_tuning_out_of_range_is_clamped_and_named() -> None:
    asked = Conversation([], tuning=Tuning(temperature=1.4))
    assert abilities.clamp(asked, "temperature", most=1) == 1
    assert asked.adapted == ["temperature: 1.4 -> 1"]


def test_a_note_is_always_fit_for_a_header() -> None:
    asked = Conversation([])
    abilities.note(asked, "tools[0] a\r\nb, ü: left out" + "x" * 200)
    assert asked.adapted == ["tools[0] a??b? ?: left out" + "x" * 74]
    for index in range(100):
        abilities.note(asked, f"f{index}: left out")
    assert len(asked.adapted) == MAX_NOTES


def test_the_maximum_sent_is_the_smaller_of_the_callers_and_the_grant() -> None:
    assert abilities.max_tokens_of(Conversation([], max_tokens=100), 50) == 50
    assert abilities.max_tokens_of(Conversation([], max_tokens=100), 500) == 100
    assert abilities.max_tokens_of(Conversation([]), 500) == 500
    assert abilities.max_tokens_of(Conversation([], max_tokens=100), None) == 100


def test_efforts_and_budgets_stand_for_each_other() -> None:
    assert [effort_of(budget_of(effort)) for effort in EFFORTS] == list(EFFORTS)
    assert nearest_effort("max", ("low", "medium", "high")) == "high"
    assert nearest_effort("minimal", ("low", "medium", "high")) == "low"
    assert nearest_effort("ultra", ("low", "high")) == "ultra"
