"""Files inside of a request keep their payload, character by character."""

from __future__ import annotations

import pytest

from apps.dialects.common.data_url import data_url, split_data_url


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("data:image/png;base64,iVBO+/=", ("image/png", "iVBO+/=")),
        ("DATA:Image/PNG;name=a.png;Base64,iVBO", ("image/png", "iVBO")),
        ("data:;base64,AA", ("", "AA")),
        ("data:text/plain,hello", None),
        ("data:image/png;base64", None),
        ("https://example.com/a.png", None),
    ],
)
def test_data_urls_are_split(url: str, parts: tuple[str, str] | None) -> None:
    assert split_data_url(url) == parts


def test_data_urls_are_joined() -> None:
    assert data_url("image/png", "iVBO") == "data:image/png;base64,iVBO"
    assert data_url("", "AA") == "data:application/octet-stream;base64,AA"
