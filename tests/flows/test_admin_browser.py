"""The operator's pages in a real browser, at a desk and on a phone: no page scrolls sideways or calls out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.db import connection
from playwright.sync_api import Browser, Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

from apps.accounts.models import Account, User
from apps.accounts.services import add_member, create_account
from apps.catalog.notices import keep_notice
from apps.catalog.services import load_catalog
from apps.core.clock import now
from apps.core.ids import new_id
from apps.core.money import Credits
from apps.keys import rules
from apps.keys.models import ApiKey
from apps.keys.services import ModelCap, issue_key
from apps.ledger import immutability
from apps.ledger import services as money
from apps.ledger.models import Hold
from apps.ledger.selectors import balance_of
from apps.upstreams.models import Route
from apps.upstreams.services import add_route
from apps.usage.models import UsageRecord
from tests.ledger.contract import unprotect_entries

pytestmark = pytest.mark.django_db(transaction=True)

DESK, PHONE = 1366, 390
OnPages = Callable[[Callable[["Visit"], None]], None]
PASSWORD = "correct horse battery staple"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
LISTS = (
    "accounts/account",
    "keys/apikey",
    "accounts/user",
    "accounts/auditevent",
    "catalog/model",
    "catalog/priceversion",
    "catalog/notice",
    "upstreams/route",
    "usage/usagerecord",
    "ledger/entry",
    "ledger/hold",
)
FORMS = ("accounts/account/add", "keys/apikey/add", "accounts/user/add", "upstreams/route/add")


def chromium() -> str:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
    if not Path(path).exists():
        pytest.fail(f"no Chromium at {path}: install Debian's `chromium`, or name one in CHROMIUM")
    return path


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the developer's shell would take the browser off this machine."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _entries_can_be_emptied(transactional_db: None) -> Iterator[None]:
    """When the test is over its tables are emptied, which is what the ledger's triggers refuse."""
    immutability.install(connection)
    yield
    unprotect_entries()


@pytest.fixture
def alice() -> Account:
    """An account with everything that pages show, names as long as they may be."""
    load_catalog()
    account = create_account(name="alice " + "w" * 94, actor="root")
    money.open_account(account_id=account.id)
    money.top_up(account_id=account.id, amount=Credits.parse("1000.000001"), reference="r" * 200, actor="root")
    add_member(account_id=account.id, email=f"{'b' * 60}@example.com", role="owner", actor="root")
    key = issue_key(
        account_id=account.id,
        actor="root",
        name="k" * 100,
        allowed_models=["gpt-5-5"],
        allowed_networks=["2001:db8::/32"],
        model_caps={"gpt-5-5": ModelCap(limit=Credits(1), rpm=1)},
    ).row
    add_route(
        model_id="claude-sonnet-4-5-max",
        provider="p" * 60,
        dialects=["anthropic-messages"],
        base_url="https://" + "u" * 200 + ".example.com/" + "v" * 60,
        upstream_model="m" * 150,
        actor="root",
        credential="sk-secret",
    )
    for _ in range(3):
        UsageRecord.objects.create(
            request_id=new_id(),
            account_id=account.id,
            key_id=key.id,
            model_id="claude-sonnet-4-5-max",
            endpoint="messages",
            status="succeeded",
            is_stream=True,
            http_status=200,
            latency_ms=94_320,
            charge_micro=123_456_789_012,
            error_detail="e" * 300,
            session_id="s" * 200,
            client="c" * 200,
            facts={"limit": "f" * 200},
            received_at=now(),
        )
    Hold.objects.create(
        request_id=new_id(),
        account_id=account.id,
        key_id=key.id,
        model_id="gpt-5-5",
        process_id=new_id(),
        amount_micro=1,
        windows=[{"scope": f"key:{key.id}:gpt-5-5"}],
        created_at=now(),
    )
    return account


@pytest.fixture
def operator() -> User:
    return User.objects.create_superuser("olga", "olga@example.com", PASSWORD)


@pytest.fixture
def on_pages(operator: User, live_server: LiveServer) -> OnPages:
    """Sign in and hand over a visit; when it ends, check that every page fitted and no request left this machine.

    The database is not touched meanwhile: Playwright runs an event loop in this thread, and Django minds.
    """

    def visit(act: Callable[[Visit], None]) -> None:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
            seen = Visit(browser, str(live_server.url))
            seen.sign_in()
            act(seen)
            browser.close()
        assert seen.strangers == []
        assert seen.failures == []
        assert seen.too_wide == []

    return visit


class Visit:
    """One signed-in window, and what went wrong in it."""

    def __init__(self, browser: Browser, root: str) -> None:
        self.root = root
        self.too_wide: list[str] = []
        self.strangers: list[str] = []
        self.failures: list[str] = []
        self.page: Page = browser.new_context(viewport={"width": DESK, "height": 850}).new_page()
        self.page.set_default_timeout(15_000)
        self.page.on("request", lambda request: self._note_request(request.url))
        self.page.on("pageerror", lambda error: self.failures.append(str(error)))

    def _note_request(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.netloc != urlsplit(self.root).netloc:
            self.strangers.append(url)

    def sign_in(self) -> None:
        self.open("/admin/")
        self.page.fill("#id_username", "olga")
        self.page.fill("#id_password", PASSWORD)
        self.page.press("#id_password", "Enter")
        self.page.wait_for_url(f"{self.root}/admin/")

    def open(self, path: str) -> None:
        reply = self.page.goto(self.root + path)
        assert reply is not None
        assert reply.status == 200, f"{path}: {reply.status}"
        self.check_width(path)

    def check_width(self, what: str) -> None:
        """Look at the page at both widths, ending at a desk."""
        for width in (PHONE, DESK):
            self.page.set_viewport_size({"width": width, "height": 850})
            needed = self.page.evaluate("document.documentElement.scrollWidth")
            if needed > width:
                self.too_wide.append(f"{what} needs {needed} of {width} pixels")

    def first_row(self, path: str) -> str:
        """The path of the first row's own page in a list."""
        self.open(path)
        href = self.page.locator("#result_list a[href*='/change/']").first.get_attribute("href")
        assert href is not None
        return href

    def submit(self, name: str) -> None:
        with self.page.expect_navigation():
            self.page.get_by_role("button", name=name, exact=True).click()


def test_every_page_fits_its_window(alice: Account, on_pages: OnPages) -> None:
    keep_notice("field", "openai-chat", "hologram", "gpt-5-5")

    def act(visit: Visit) -> None:
        visit.open("/admin/")
        for model in LISTS:
            visit.open(visit.first_row(f"/admin/{model}/"))
            visit.open(f"/admin/{model}/?q=nothing-like-it")
        for form in FORMS:
            visit.open(f"/admin/{form}/")
            visit.submit("Save")
            visit.check_width(f"{form} with errors")
            assert visit.page.locator("text=Please correct the error").count() == 1
        key, account = visit.first_row("/admin/keys/apikey/"), f"/admin/accounts/account/{alice.id}/"
        for page in (f"{account}top_up/", f"{account}correct/", key.replace("change/", "suspend/")):
            visit.open(page)
        visit.open("/admin/catalog/model/gpt-5-5/new_price/")

    on_pages(act)


def test_an_empty_installation_says_so_at_both_widths(
    on_pages: OnPages,
) -> None:
    def act(visit: Visit) -> None:
        for model in ("accounts/account", "keys/apikey", "upstreams/route", "usage/usagerecord", "ledger/entry"):
            visit.open(f"/admin/{model}/")
            assert visit.page.get_by_text("No results found").is_visible()

    on_pages(act)


def test_an_operator_tops_up_issues_a_key_and_suspends_it(alice: Account, on_pages: OnPages) -> None:
    shown: list[str] = []

    def act(visit: Visit) -> None:
        page = visit.page
        visit.open(f"/admin/accounts/account/{alice.id}/top_up/")
        page.fill("#id_amount", "12.5")
        visit.submit("Top up")
        assert page.get_by_text("1,000.000001 credits → 1,012.500001 credits").is_visible()

        visit.open("/admin/keys/apikey/add/")
        page.locator("#select2-id_account-container").click()
        page.locator(".select2-results__option", has_text="alice").click()
        page.fill("#id_name", "from the browser")
        page.fill("#id_daily_budget", "2.5")
        visit.submit("Save")
        shown.append(page.input_value("#issued-key"))
        visit.check_width("the key's page")
        page.get_by_role("link", name="Open the key").click()
        page.wait_for_url("**/change/")
        assert shown[0] not in page.content()

        visit.open(urlsplit(page.url).path.replace("change/", "suspend/"))
        page.fill("#id_why", "leaked")
        visit.submit("Suspend")
        assert page.get_by_text("UTC: leaked").is_visible()

    on_pages(act)
    assert balance_of(alice.id).balance == Credits.parse("1012.500001")
    assert rules.is_well_formed(shown[0])
    key = ApiKey.objects.get(name="from the browser")
    assert (key.last4, key.daily_budget_micro, key.status) == (shown[0][-4:], 2_500_000, "suspended")


def test_an_operator_filters_a_log_by_typing_an_account(alice: Account, on_pages: OnPages) -> None:
    def act(visit: Visit) -> None:
        page = visit.page
        for text, rows in ((alice.name, 3), ("nobody", 0)):
            visit.open("/admin/usage/usagerecord/")
            page.locator("a", has_text="Filters").first.click()
            page.fill("#filter-account", text)
            with page.expect_navigation():
                page.press("#filter-account", "Enter")
            assert page.locator("#result_list .data-row").count() == rows

    on_pages(act)


def test_a_stored_credential_is_nowhere_in_the_page(alice: Account, on_pages: OnPages) -> None:
    route = Route.objects.get()

    def act(visit: Visit) -> None:
        visit.open(f"/admin/upstreams/route/{route.id}/change/")
        assert visit.page.input_value("#id_credential") == ""
        assert route.credential_sealed not in visit.page.content()
        assert "sk-secret" not in visit.page.content()

    on_pages(act)
