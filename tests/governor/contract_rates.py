"""Rates: what every governor promises about minutes, whatever it keeps them in."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from apps.core.errors import LimitFacts
from apps.governor.store.protocol import Shed
from tests.governor.rig import ALICE, BOB, CHARLIE, MODEL, NOON, Rig, RigContract, ask

RATES: list[tuple[str, dict[str, Any]]] = [
    ("account_rpm", {"account_rpm": 3}),
    ("key_rpm", {"key_rpm": 3}),
    ("key_model_rpm", {"key_model_rpm": 3}),
    ("model_rpm", {"rpm": 3}),
    ("model_tpm", {"tpm": 3, "tokens": 1}),
    ("model_ipm", {"ipm": 3, "images": 1}),
]


class RatesContract(RigContract):
    async def test_a_call_gets_a_slot_and_true_figures(self, rig: Rig) -> None:
        admission = await rig.governor.admit(
            ask(account_rpm=10, tokens=400, images=2, concurrency=80, rpm=15_000, tpm=1_000, ipm=250)
        )
        assert (admission.concurrency_remaining, admission.rpm_remaining, admission.tpm_remaining) == (79, 14_999, 600)
        assert (admission.ipm_remaining, admission.account_remaining) == (248, 9)
        assert admission.resets_at == NOON + timedelta(seconds=60)
        assert (admission.queue_ms, admission.is_finished) == (0, False)
        assert rig.governor.mode == "active"

    @pytest.mark.parametrize(("code", "limits"), RATES)
    async def test_a_rate_refuses_what_is_above_it_and_tells_the_truth(
        self, rig: Rig, code: str, limits: dict[str, Any]
    ) -> None:
        call = ask(concurrency=80, **limits)
        for _ in range(3):
            await rig.governor.admit(call)
            await rig.advance(10)
        with pytest.raises(Shed) as refused:
            await rig.governor.admit(call)
        assert (refused.value.code, refused.value.status, refused.value.retry_after_s) == (code, 429, 30)
        assert refused.value.facts == LimitFacts(limit=code, value=3, used=3, resets_at=NOON + timedelta(seconds=60))
        await rig.advance(29.5)
        with pytest.raises(Shed) as refused:
            await rig.governor.admit(call)
        assert refused.value.retry_after_s == 1
        await rig.advance(0.5)
        await rig.governor.admit(call)
        assert (await rig.governor.figures())[MODEL].shed == {code: 2}

    async def test_the_first_rate_in_order_is_the_one_named(self, rig: Rig) -> None:
        names = [code for code, _ in RATES]
        exhausted: dict[str, Any] = {
            "account_rpm": 1,
            "key_rpm": 1,
            "key_model_rpm": 1,
            "rpm": 1,
            "tpm": 1,
            "tokens": 1,
            "ipm": 1,
            "images": 1,
        }
        room = {"account_rpm": 9, "key_rpm": 9, "key_model_rpm": 9, "rpm": 9, "tpm": 9}
        await rig.governor.admit(ask(**exhausted))
        named = []
        for name in ("account_rpm", "key_rpm", "key_model_rpm", "rpm", "tpm", "ipm"):
            with pytest.raises(Shed) as refused:
                await rig.governor.admit(ask(**exhausted))
            named.append(refused.value.code)
            exhausted[name] = room.get(name, 9)
        assert named == names

    async def test_a_refusal_counts_towards_no_rate(self, rig: Rig) -> None:
        call: dict[str, Any] = {"account_rpm": 10, "key_rpm": 10, "key_model_rpm": 10, "ipm": 10, "concurrency": 9}
        await rig.governor.admit(ask(tokens=600, images=1, tpm=1_000, **call))
        for _ in range(20):
            with pytest.raises(Shed, match="tokens per minute"):
                await rig.governor.admit(ask(tokens=600, images=1, tpm=1_000, **call))
        admission = await rig.governor.admit(ask(tokens=400, images=1, tpm=1_000, **call))
        assert (admission.account_remaining, admission.rpm_remaining) == (8, 998)
        assert (admission.tpm_remaining, admission.ipm_remaining) == (0, 8)

    async def test_accounts_keys_and_models_have_minutes_of_their_own(self, rig: Rig) -> None:
        limits: dict[str, Any] = {"account_rpm": 2, "key_rpm": 1, "concurrency": 9}
        await rig.governor.admit(ask(ALICE, key=ALICE, **limits))
        with pytest.raises(Shed) as refused:
            await rig.governor.admit(ask(ALICE, key=ALICE, **limits))
        assert refused.value.code == "key_rpm"
        await rig.governor.admit(ask(ALICE, key=BOB, **limits))
        with pytest.raises(Shed) as refused:
            await rig.governor.admit(ask(ALICE, key=CHARLIE, model="kimi-latest", **limits))
        assert refused.value.code == "account_rpm"
        await rig.governor.admit(ask(CHARLIE, key=CHARLIE, model="kimi-latest", **limits))
        assert (await rig.governor.figures())["kimi-latest"].requests_in_minute == 1

    async def test_a_key_and_model_limit_binds_that_model_only(self, rig: Rig) -> None:
        await rig.governor.admit(ask(key_model_rpm=1))
        with pytest.raises(Shed) as refused:
            await rig.governor.admit(ask(key_model_rpm=1))
        assert refused.value.code == "key_model_rpm"
        await rig.governor.admit(ask(key_model_rpm=1, model="kimi-latest"))

    @pytest.mark.parametrize(("used", "remaining"), [(0, 1_000), (150, 850), (400, 600), (700, 300), (None, 1_000)])
    async def test_the_estimate_is_corrected_by_what_was_used(self, rig: Rig, used: int | None, remaining: int) -> None:
        rig.governor.finish(await rig.governor.admit(ask(tokens=400, tpm=1_000)), tokens=used)
        admission = await rig.governor.admit(ask(tokens=0, tpm=1_000))
        assert (admission.tpm_remaining, admission.rpm_remaining) == (remaining, 998)

    async def test_more_than_the_limit_was_used_and_others_wait_for_it(self, rig: Rig) -> None:
        rig.governor.finish(await rig.governor.admit(ask(tokens=400, tpm=1_000)), tokens=5_000)
        with pytest.raises(Shed) as refused:
            await rig.governor.admit(ask(tokens=1, tpm=1_000))
        assert refused.value.facts is not None
        assert (refused.value.facts.used, refused.value.retry_after_s) == (5_000, 60)

    async def test_a_correction_takes_nothing_from_a_later_minute(self, rig: Rig) -> None:
        slow = await rig.governor.admit(ask(tokens=400, tpm=1_000))
        await rig.advance(61)
        await rig.governor.admit(ask(tokens=700, tpm=1_000))
        rig.governor.finish(slow, tokens=None)
        assert (await rig.governor.figures())[MODEL].tokens_in_minute == 700

    async def test_images_are_given_back_where_none_came(self, rig: Rig) -> None:
        failed = await rig.governor.admit(ask(images=4, ipm=4))
        with pytest.raises(Shed) as refused:
            await rig.governor.admit(ask(images=1, ipm=4))
        assert refused.value.code == "model_ipm"
        rig.governor.finish(failed, tokens=None)
        made = await rig.governor.admit(ask(images=3, ipm=4))
        rig.governor.finish(made, tokens=100)
        assert (await rig.governor.figures())[MODEL].images_in_minute == 3

    async def test_a_call_larger_than_the_whole_minute_is_told_so(self, rig: Rig) -> None:
        with pytest.raises(Shed) as refused:
            await rig.governor.admit(ask(tokens=1_001, tpm=1_000))
        assert (refused.value.code, refused.value.retry_after_s) == ("model_tpm", 60)
        assert refused.value.message == (
            "gpt-5-5 is limited to 1000 tokens per minute and this call alone needs 1001: it can never pass."
        )
        assert refused.value.facts == LimitFacts(limit="model_tpm", value=1_000, used=0, needed=1_001)
