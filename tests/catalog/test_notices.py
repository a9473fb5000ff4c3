from __future__ import annotations

import pytest

from apps.catalog import notices
from apps.catalog.models import Notice

pytestmark = pytest.mark.django_db


def test_a_name_is_written_down_once() -> None:
    for model in ("gpt-5-5", "kimi-latest"):
        notices.keep_notice("field", "openai-chat", "hologram", model)
    notices.keep_notice("tool", "openai-chat", "hologram", "gpt-5-5")
    assert list(Notice.objects.order_by("kind").values_list("kind", "name", "model_id")) == [
        ("field", "hologram", "gpt-5-5"),
        ("tool", "hologram", "gpt-5-5"),
    ]


def test_only_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "MAX_NOTICES", 3)
    for number in range(9):
        notices.keep_notice("field", "openai-chat", f"field{number}", "gpt-5-5")
    assert Notice.objects.count() == 3
