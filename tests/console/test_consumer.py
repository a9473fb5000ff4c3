"""Who may look at live capacity: the whole stack of `/ws/`, from origin to session."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.conf import settings
from django.db import connections
from django.test import Client
from pytest_django.fixtures import Settings

from apps.accounts.models import User
from apps.console.capacity import consumer, live
from apps.governor.store.memory import MemoryGovernor
from apps.governor.telemetry import here
from apps.governor.telemetry.observer import Observer
from apps.governor.telemetry.tally import Telemetry
from hypereal.asgi import application
from tests.governor.telemetry.rig import CATALOG

pytestmark = pytest.mark.django_db(transaction=True)

HOST = "127.0.0.1:8000"
SITE = f"http://{HOST}"


@pytest.fixture(autouse=True)
async def _forget() -> AsyncIterator[None]:
    yield
    here.forget_observer()
    # Sessions are looked up in a thread, which keeps its connection: the test database could not be dropped.
    await sync_to_async(connections.close_all)()


def cookie_of(*, is_staff: bool = True, is_active: bool = True) -> str:
    client = Client()
    user = User.objects.create_user("olga", "olga@example.com", is_staff=is_staff)
    client.force_login(user)
    if not is_active:
        User.objects.update(is_active=False)
    return f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"


class Page:
    """The browser's end of a websocket."""

    def __init__(self, path: str, headers: list[tuple[bytes, bytes]]) -> None:
        scope = {"type": "websocket", "path": path, "query_string": b"", "headers": headers, "subprotocols": []}
        self._wire: Any = ApplicationCommunicator(application, scope)  # type: ignore[no-untyped-call]

    async def connect(self) -> bool:
        await self._wire.send_input({"type": "websocket.connect"})
        return bool((await self.next())["type"] == "websocket.accept")

    async def next(self) -> Any:
        return await self._wire.receive_output(timeout=10)

    async def say(self, text: str) -> None:
        await self._wire.send_input({"type": "websocket.receive", "text": text})

    async def leave(self) -> None:
        await self._wire.send_input({"type": "websocket.disconnect", "code": 1001})
        await self._wire.wait(timeout=10)


def page(cookie: str = "", *, origin: str | None = SITE, path: str = "/ws/capacity/") -> Page:
    here.set_observer(Observer(Telemetry(), MemoryGovernor(), lambda: CATALOG, process="web", board=None))
    headers = {"host": HOST, "cookie": cookie, "origin": origin}
    named = [(name.encode(), value.encode()) for name, value in headers.items() if value]
    return Page(path, named)


async def is_let_in(asking: Page) -> bool:
    found = await asking.connect()
    await asking.leave()
    return found


async def test_an_operator_sees_all_of_it() -> None:
    looking = page(await sync_to_async(cookie_of)())
    assert await looking.connect()
    told = json.loads((await looking.next())["text"])
    assert (told["kind"], told["capacity"]["models"][0]["model"]) == ("all", "gpt-5-5")
    assert len(live.VIEWERS) == 1
    await looking.say("anything")
    await looking.leave()
    assert (len(live.VIEWERS), live.VIEWERS.is_gathering) == (0, False)


async def test_strangers_and_people_of_accounts_do_not() -> None:
    assert not await is_let_in(page())
    assert not await is_let_in(page(f"{settings.SESSION_COOKIE_NAME}=made-up"))
    assert not await is_let_in(page(await sync_to_async(cookie_of)(is_staff=False)))
    assert len(live.VIEWERS) == 0


async def test_whoever_was_disabled_does_not() -> None:
    assert not await is_let_in(page(await sync_to_async(cookie_of)(is_active=False)))


@pytest.mark.parametrize(
    "origin",
    [None, "null", "https://evil.example", "http://127.0.0.1.evil.example", "http://127.0.0.1:9999", "nonsense"],
)
async def test_pages_of_other_sites_do_not_even_with_an_operators_cookie(origin: str | None) -> None:
    assert not await is_let_in(page(await sync_to_async(cookie_of)(), origin=origin))


async def test_an_origin_that_forms_may_come_from_may_look_too(settings: Settings) -> None:
    # Behind a proxy that does not pass the host on.
    settings.CSRF_TRUSTED_ORIGINS = ["https://localhost"]
    assert await is_let_in(page(await sync_to_async(cookie_of)(), origin="https://localhost"))


async def test_other_paths_lead_nowhere() -> None:
    assert not await is_let_in(page(await sync_to_async(cookie_of)(), path="/ws/other/"))


async def test_a_viewer_too_many_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_VIEWERS", 0)
    looking = page(await sync_to_async(cookie_of)())
    assert await looking.connect()
    closed = await looking.next()
    assert (closed["type"], closed["code"]) == ("websocket.close", consumer.FULL)
    await looking.leave()


async def test_a_long_view_ends_so_that_its_session_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "MAX_VIEW_S", 0.2)
    looking = page(await sync_to_async(cookie_of)())
    assert await looking.connect()
    while (sent := await looking.next())["type"] != "websocket.close":
        assert sent["type"] == "websocket.send"
    assert sent["code"] == consumer.COME_BACK
    assert len(live.VIEWERS) == 0
    await looking.leave()
