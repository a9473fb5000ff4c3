"""The operator's settings: what is taken, and the one clear line where they do not add up."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from hypereal.environment import BadEnvironment, read

STORES = {"DATABASE_URL": "postgresql://postgres@127.0.0.1/hypereal", "REDIS_URL": "redis://127.0.0.1/0"}


def production_secrets() -> dict[str, str]:
    return {
        "HYPEREAL_ENV": "production",
        "SECRET_KEY": "s" * 50,
        "HYPEREAL_KEY_PEPPER": "p" * 32,
        "HYPEREAL_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
    }


def test_nothing_set_is_the_embedded_default(tmp_path: Path) -> None:
    found = read({}, root=tmp_path)
    assert found.is_embedded
    assert not found.is_production
    assert (found.workers, found.host, found.port, found.signup) == (1, "127.0.0.1", 8000, "invite")
    assert found.public_url == "http://127.0.0.1:8000"
    assert found.data_dir == tmp_path / "var"
    assert found.journal_dir == tmp_path / "var" / "journal"


def test_a_data_directory_that_does_not_last_keeps_no_journal(tmp_path: Path) -> None:
    assert read({"HYPEREAL_JOURNAL": "off"}, root=tmp_path).journal_dir is None


def test_both_urls_are_the_production_shape(tmp_path: Path) -> None:
    found = read({**STORES, "HYPEREAL_WORKERS": "4"}, root=tmp_path)
    assert not found.is_embedded
    assert found.workers == 4


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"DATABASE_URL": "postgresql://x/y"}, "DATABASE_URL is set but REDIS_URL is not"),
        ({"REDIS_URL": "redis://x"}, "REDIS_URL is set but DATABASE_URL is not"),
        ({"HYPEREAL_OWNER_DATABASE_URL": "postgresql://x/y"}, "is set but DATABASE_URL is not"),
        ({"HYPEREAL_WORKERS": "2"}, "HYPEREAL_WORKERS=2 needs DATABASE_URL and REDIS_URL"),
        ({"HYPEREAL_WORKERS": "0"}, "HYPEREAL_WORKERS is '0': use a number from 1 to 256"),
        ({"PORT": "http"}, "PORT is 'http': use a number from 1 to 65535"),
        ({"PORT": "65536"}, "PORT is '65536': use a number from 1 to 65535"),
        ({"HYPEREAL_ENV": "staging"}, "HYPEREAL_ENV is 'staging': use one of local, production"),
        ({"HYPEREAL_JOURNAL": "yes"}, "HYPEREAL_JOURNAL is 'yes': use one of on, off"),
        ({"HYPEREAL_SIGNUP": "yes"}, "HYPEREAL_SIGNUP is 'yes': use one of closed, invite, open"),
        ({"HYPEREAL_ENV": "production", "SECRET_KEY": "s"}, "needs HYPEREAL_KEY_PEPPER and HYPEREAL_ENCRYPTION_KEYS"),
        ({"HYPEREAL_ENCRYPTION_KEYS": "short"}, "HYPEREAL_ENCRYPTION_KEYS must be Fernet keys"),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path: Path, environ: dict[str, str], line: str) -> None:
    with pytest.raises(BadEnvironment) as caught:
        read(environ, root=tmp_path)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_local_secrets_are_made_once_and_are_their_owners_alone(tmp_path: Path) -> None:
    first, second = read({}, root=tmp_path), read({}, root=tmp_path)
    assert (first.secret_key, first.key_pepper) == (second.secret_key, second.key_pepper)
    assert first.encryption_keys == second.encryption_keys
    path = tmp_path / "var" / "secrets.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(json.loads(path.read_text())) == {"SECRET_KEY", "HYPEREAL_KEY_PEPPER", "HYPEREAL_ENCRYPTION_KEYS"}
    assert [entry.name for entry in path.parent.iterdir()] == ["secrets.json"]


def test_production_writes_no_secrets(tmp_path: Path) -> None:
    assert read(production_secrets(), root=tmp_path).is_production
    assert not (tmp_path / "var").exists()


def test_fingerprints_tell_secrets_apart_and_show_none(tmp_path: Path) -> None:
    given = production_secrets()
    found = read(given, root=tmp_path).fingerprints()
    other = read({**given, "HYPEREAL_KEY_PEPPER": "q" * 32}, root=tmp_path).fingerprints()
    assert [name for name in found if found[name] != other[name]] == ["HYPEREAL_KEY_PEPPER"]
    assert not any(secret in json.dumps(found) for secret in (given["SECRET_KEY"], given["HYPEREAL_KEY_PEPPER"]))


def test_a_new_encryption_key_in_front_is_the_same_installation(tmp_path: Path) -> None:
    given = production_secrets()
    rotated = f"{Fernet.generate_key().decode()},{given['HYPEREAL_ENCRYPTION_KEYS']}"
    (before,) = read(given, root=tmp_path).fingerprints()["HYPEREAL_ENCRYPTION_KEYS"]
    after = read({**given, "HYPEREAL_ENCRYPTION_KEYS": rotated}, root=tmp_path).fingerprints()
    assert after["HYPEREAL_ENCRYPTION_KEYS"][1:] == (before,)
    assert after["HYPEREAL_ENCRYPTION_KEYS"][0] != before


def test_lists_are_taken_with_commas_and_spaces(tmp_path: Path) -> None:
    found = read({"ALLOWED_HOSTS": "a.example, b.example,", "HYPEREAL_TRUSTED_PROXIES": "10.0.0.0/8"}, root=tmp_path)
    assert found.allowed_hosts == ("a.example", "b.example")
    assert found.trusted_proxies == ("10.0.0.0/8",)
