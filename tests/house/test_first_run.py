"""What `make run` does to the database before it serves."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

import pytest
from cryptography.fernet import Fernet
from django.conf import settings
from django.contrib.auth import authenticate

from apps.accounts import audit
from apps.accounts.models import Account, Member, SecretFingerprint, User
from apps.catalog.models import Model
from apps.core.money import Credits
from apps.keys import rules
from apps.keys.models import ApiKey
from apps.ledger.selectors import balance_of
from hypereal import first_run
from hypereal.fingerprints import OtherSecret, check_secrets
from hypereal.first_run import Credentials

pytestmark = pytest.mark.django_db


def test_an_empty_installation_gets_something_to_try() -> None:
    credentials = first_run.open_demo()

    assert credentials is not None
    account = Account.objects.get()
    assert account.name == "demo"
    assert balance_of(account.id).balance == Credits.whole(1_000)
    key = ApiKey.objects.get()
    assert key.digest == rules.digest(credentials.key, pepper=settings.ENVIRONMENT.key_pepper)
    user = authenticate(username="admin", password=credentials.password)
    assert isinstance(user, User)
    assert user.is_staff
    assert user.is_superuser
    assert Member.objects.get(account=account, user=user).role == Member.Role.OWNER


def test_every_installation_gets_another_password() -> None:
    passwords = set()
    for _ in range(2):
        credentials = first_run.open_demo()
        assert credentials is not None
        passwords.add(credentials.password)
        Account.objects.all().delete()
        User.objects.all().delete()
    assert len(passwords) == 2


def test_an_installation_in_use_gets_nothing() -> None:
    first_run.open_demo()
    assert first_run.open_demo() is None
    assert Account.objects.count() == User.objects.count() == ApiKey.objects.count() == 1


def test_somebody_elses_admin_keeps_the_password() -> None:
    User.objects.create_superuser("admin", password="their own")
    credentials = first_run.open_demo()
    assert credentials is not None
    assert credentials.password is None
    assert authenticate(username="admin", password="their own") is not None


def test_the_curl_line_can_be_pasted() -> None:
    text = first_run.announce(Credentials(key="ck_example", password="secret"), url="http://127.0.0.1:8000")
    (line,) = [line for line in text.splitlines() if line.startswith("curl")]
    command = shlex.split(line)
    assert command[1] == "http://127.0.0.1:8000/v1/managed/chat/completions"
    assert "Authorization: Bearer ck_example" in command
    assert json.loads(command[-1])["model"] == "gpt-5-5"
    assert "user admin, password secret" in text


def test_the_shipped_catalog_is_loaded_once() -> None:
    loaded = first_run.load_shipped_catalog()
    assert loaded is not None
    assert (loaded.models, loaded.created) == (16, 16)
    assert Model.objects.filter(id="gpt-5-5").exists()
    assert first_run.load_shipped_catalog() is None


def test_another_shipped_catalog_is_loaded_again() -> None:
    first_run.load_shipped_catalog()
    audit.record(actor="first run", action=first_run.CATALOG_SHIPPED, target="the digest of another file")
    loaded = first_run.load_shipped_catalog()
    assert loaded is not None
    assert (loaded.created, loaded.repriced) == (0, 0)


def test_a_migrated_database_has_nothing_to_migrate() -> None:
    assert first_run.migrate() == 0


def test_secrets_are_remembered_and_compared() -> None:
    check_secrets(settings.ENVIRONMENT)
    check_secrets(settings.ENVIRONMENT)
    assert SecretFingerprint.objects.count() == 3


def test_another_secret_is_named() -> None:
    check_secrets(settings.ENVIRONMENT)
    SecretFingerprint.objects.filter(name="HYPEREAL_KEY_PEPPER").update(fingerprint="another")
    with pytest.raises(OtherSecret, match=r"^HYPEREAL_KEY_PEPPER is not the one"):
        check_secrets(settings.ENVIRONMENT)


def test_an_encryption_key_is_rotated_and_the_old_one_dropped() -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    for keys in ((old,), (new, old), (new,)):
        check_secrets(replace(settings.ENVIRONMENT, encryption_keys=keys))
    with pytest.raises(OtherSecret, match=r"^HYPEREAL_ENCRYPTION_KEYS is not the one"):
        check_secrets(replace(settings.ENVIRONMENT, encryption_keys=(old,)))
