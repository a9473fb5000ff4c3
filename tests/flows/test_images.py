"""The Images API with the official client: what it asks for, what it is shown on the way, and what that costs."""

from __future__ import annotations

import base64
from typing import Final

from tests.flows.bills import bill
from tests.flows.conftest import AddUpstream
from tests.flows.endpoints import IMAGES, Tokens
from tests.flows.rig import Operator, Person
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


def test_drafts_are_held_for_and_charged(operator: Operator, add_upstream: AddUpstream) -> None:
    """The largest image of the best quality with three drafts counts more than that image alone."""
    tokens = Tokens(input=10, output=6_208 + 3 * 100)
    add_upstream(IMAGES, streamed(IMAGES.events(tokens)))
    alice = operator.person("alice")
    asked = IMAGES.body(size="1536x1024", quality="high", stream=True)
    plain = alice.call(IMAGES.path, asked)
    drafted = alice.call(IMAGES.path, {**asked, "partial_images": 3})
    assert (plain.status, drafted.status) == (200, 200)
    of_drafts, of_one = alice.records(2)
    # Where none were asked for there can be none: what the model cannot draw is not believed.
    assert (of_one["credits_charged"], of_one["estimated"]) == (bill(IMAGES.model, input=10, output=6_300), True)
    assert (of_drafts["credits_charged"], of_drafts["estimated"]) == (bill(IMAGES.model, input=10, output=6_508), False)
    assert of_drafts["absorbed"] == 0
