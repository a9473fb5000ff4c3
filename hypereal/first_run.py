"""What `make run` does to the database before it serves: migrations, the shipped catalog, and once, something to try.

All of it is repeatable, and one process at a time does it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor

from apps.accounts import audit
from apps.accounts.models import Account, AuditEvent, Member, User
from apps.accounts.services import admit_member, create_account
from apps.catalog.services import SHIPPED_CATALOG, LoadResult, load_catalog
from apps.core.money import Credits
from apps.keys.services import issue_key
from apps.ledger import services as ledger

ACTOR: Final = "first run"
ACCOUNT_NAME: Final = "demo"
OPENING_CREDITS: Final = Credits.whole(1_000)
USER_NAME: Final = "admin"
PASSWORD_BYTES: Final = 15
DEMO_MODEL: Final = "gpt-5-5"
CATALOG_SHIPPED: Final = "catalog.shipped"
PREPARATION_LOCK: Final = 0x68797065  # any number that nobody else locks


@dataclass(frozen=True, slots=True)
class Credentials:
    """Shown once, stored nowhere. `password` is None where the user was there already."""

    key: str
    password: str | None


@dataclass(frozen=True, slots=True)
class Preparation:
    """What was done."""

    migrations: int
    catalog: LoadResult | None
    credentials: Credentials | None


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let one process of all machines prepare the database; the others wait, and find it prepared.

    On SQLite the server's lock on its data directory does the same.
    """
    if connection.vendor != "postgresql":
        yield
        return
    # A transaction's lock on a connection of its own: a session's would stay behind in a pooler.
    lock = connection.copy("preparation")
    try:
        lock.set_autocommit(False)
        with lock.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PREPARATION_LOCK])
        yield
    finally:
        lock.close()


def migrate(owner_database_url: str = "") -> int:
    """Apply pending migrations, as the tables' owner where that is somebody else; return how many there were.

    Raises: CalledProcessError, where the owner cannot.
    """
    executor = MigrationExecutor(connection)
    pending = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    if pending and owner_database_url:
        # A process of its own: this one has settings, and soon connections, of who serves.
        subprocess.run(
            [sys.executable, "-m", "django", "migrate", "--no-input", "--verbosity", "0"],
            env={**os.environ, "DATABASE_URL": owner_database_url, "HYPEREAL_OWNER_DATABASE_URL": ""},
            check=True,
        )
    elif pending:
        call_command("migrate", interactive=False, verbosity=0)
    return pending


def load_shipped_catalog() -> LoadResult | None:
    """Load the catalog file that comes with the code, where it is not the one loaded last; else None.

    Not on every start: prices that an operator changed since would be changed back.
    """
    digest = hashlib.sha256(SHIPPED_CATALOG.read_bytes()).hexdigest()
    newest = AuditEvent.objects.filter(account=None, action=CATALOG_SHIPPED).order_by("-created_at", "-id").first()
    if newest is not None and newest.target == digest:
        return None
    with transaction.atomic():
        result = load_catalog(SHIPPED_CATALOG, actor=ACTOR)
        audit.record(actor=ACTOR, action=CATALOG_SHIPPED, target=digest)
    return result


def open_demo() -> Credentials | None:
    """Where there is no account at all: one with credits, a key, and somebody who may do everything; else None."""
    if Account.objects.exists():
        return None
    with transaction.atomic():
        account = create_account(name=ACCOUNT_NAME, actor=ACTOR)
        ledger.open_account(account_id=account.id)
        ledger.top_up(account_id=account.id, amount=OPENING_CREDITS, reference=ACTOR, actor=ACTOR)
        issued = issue_key(account_id=account.id, actor=ACTOR, name=ACCOUNT_NAME)
        password = None
        user = User.objects.filter(username=USER_NAME).first()
        if user is None:
            password = secrets.token_urlsafe(PASSWORD_BYTES)
            user = User.objects.create_superuser(USER_NAME, password=password)
        admit_member(account_id=account.id, user_id=user.pk, role=Member.Role.OWNER, actor=ACTOR)
    return Credentials(key=issued.key, password=password)


def announce(credentials: Credentials, *, url: str) -> str:
    """The lines for the terminal; the curl line works as it is.

    `url` is where callers reach this server, without a slash at its end.
    """
    body = json.dumps({"model": DEMO_MODEL, "messages": [{"role": "user", "content": "Hello!"}]})
    password = credentials.password or "(the one you gave this user)"
    return f"""
First run. Keep these: they are shown once.

  API key    {credentials.key}
             account {ACCOUNT_NAME}, {OPENING_CREDITS} credits
  Admin      {url}/admin/
             user {USER_NAME}, password {password}

Try it:

curl {url}/v1/managed/chat/completions -H "Authorization: Bearer {credentials.key}" \
-H "Content-Type: application/json" -d '{body}'
"""
