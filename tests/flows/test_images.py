"""The Images API with the official client: what it asks for, what it is shown on the way, and what that costs."""

from __future__ import annotations

import base64
from typing import Final

from tests.flows.bills import bill
from tests.flows.conftest import AddUpstream
from tests.flows.endpoints import IMAGES, Tokens
from tests.flows.rig import Person
from tests.flows.upstream import served, streamed

PNG: Final = b"\x89PNG\r\n\x1a\n"


def test_an_older_clients_words_are_mapped_and_named(alice: Person, add_upstream: AddUpstream) -> None:
    script = add_upstream(IMAGES, served(IMAGES))
    asked = IMAGES.body(size="1024x1024", quality="standard", response_format="b64_json", style="vivid", n=2)
    reply = alice.call(IMAGES.path, asked)
    assert reply.status == 200
    assert script.calls[0].json == {**IMAGES.body(model="theirs"), "size": "1024x1024", "quality": "auto", "n": 2}
    assert reply.headers["x-hypereal-adapted"] == (
        "quality: standard -> auto, response_format: left out, style: left out"
    )


def test_the_official_client_gets_as_many_images_as_it_asked_for(alice: Person) -> None:
    with alice.openai() as client:
        reply = client.images.generate(model=IMAGES.model, prompt="A cat", size="1024x1024", quality="standard", n=2)
    assert reply.data is not None
    assert [base64.b64decode(image.b64_json or "")[:8] for image in reply.data] == [PNG, PNG]
    assert reply.usage is not None
    cost = bill(IMAGES.model, input=reply.usage.input_tokens, output=reply.usage.output_tokens)
    assert alice.balance == alice.opening_balance - cost


def test_the_official_client_sees_drafts_and_then_the_image(alice: Person) -> None:
    with alice.openai() as client:
        events = list(
            client.images.generate(
                model=IMAGES.model, prompt="A cat", size="1024x1024", quality="low", stream=True, partial_images=2
            )
        )
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert all(base64.b64decode(event.b64_json)[:8] == PNG for event in events)
    last = events[-1]
    assert last.type == "image_generation.completed"
    cost = bill(IMAGES.model, input=last.usage.input_tokens, output=last.usage.output_tokens)
    assert alice.newest_record()["credits_charged"] == cost


def test_drafts_are_held_for_and_charged(alice: Person, add_upstream: AddUpstream) -> None:
    """The largest image of the best quality with three drafts counts more than that image alone."""
    tokens = Tokens(input=10, output=6_208 + 3 * 100)
    add_upstream(IMAGES, streamed(IMAGES.events(tokens)))
    asked = IMAGES.body(size="1536x1024", quality="high", stream=True)
    holds = []
    for more in ({}, {"partial_images": 3}):
        assert alice.call(IMAGES.path, {**asked, **more}).status == 200
        record = alice.newest_record()
        assert record["credits_charged"] == bill(IMAGES.model, input=10, output=6_508)
        holds.append(alice.operator.run("explain", record["request_id"])["credits_held"])
    # The field itself is a dozen tokens of input.
    drafts = bill(IMAGES.model, input=0, output=300)
    assert drafts <= holds[1] - holds[0] <= drafts + bill(IMAGES.model, input=20, output=0)
    assert alice.records(1)[0]["absorbed"] == 0
