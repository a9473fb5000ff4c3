"""What the environment says, read once and checked: one clear line and exit 2 where it does not add up."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from cryptography.fernet import Fernet

SECRET_NAMES: Final = ("SECRET_KEY", "HYPEREAL_KEY_PEPPER", "HYPEREAL_ENCRYPTION_KEYS")
SECRETS_FILE: Final = "secrets.json"
ENVIRONMENTS: Final = ("local", "production")
SIGNUP_MODES: Final = ("closed", "invite", "open")
JOURNAL_MODES: Final = ("on", "off")
JOURNAL_DIR: Final = "journal"
CREDENTIAL_DIR: Final = "/run/secrets"
"""Where containers find what is mounted as a secret."""


class BadEnvironment(Exception):
    """The settings do not add up. The message is one line for the operator."""


@dataclass(frozen=True, slots=True)
class Environment:
    """The operator's settings (SPEC Part 4)."""

    name: str
    data_dir: Path
    has_journal: bool
    """The data directory outlives the process: settlements that the store cannot take may wait there."""
    credential_dir: Path
    """Where routes may find their credentials in files."""
    database_url: str
    owner_database_url: str
    """Whoever owns the tables, where that is not who serves; empty: DATABASE_URL migrates too."""
    redis_url: str
    workers: int
    host: str
    port: int
    public_url: str
    allowed_hosts: tuple[str, ...]
    csrf_trusted_origins: tuple[str, ...]
    trusted_proxies: tuple[str, ...]
    email_url: str
    signup: str
    metrics_token: str
    secret_key: str
    key_pepper: str
    encryption_keys: tuple[str, ...]

    @property
    def is_embedded(self) -> bool:
        """One process on SQLite and in-process capacity."""
        return not self.database_url

    @property
    def journal_dir(self) -> Path | None:
        return self.data_dir / JOURNAL_DIR if self.has_journal else None

    @property
    def is_production(self) -> bool:
        return self.name == "production"

    def fingerprints(self) -> dict[str, tuple[str, ...]]:
        """What the database may remember of each secret: enough to notice another one, useless for anything else.

        Several for the encryption keys, newest first: any of them shows that this is the same installation.
        """
        secrets_by_name = {
            "SECRET_KEY": (self.secret_key,),
            "HYPEREAL_KEY_PEPPER": (self.key_pepper,),
            "HYPEREAL_ENCRYPTION_KEYS": self.encryption_keys,
        }
        return {name: tuple(_fingerprint(name, value) for value in values) for name, values in secrets_by_name.items()}


def _fingerprint(name: str, value: str) -> str:
    return hashlib.sha256(f"hypereal fingerprint {name} {value}".encode()).hexdigest()[:32]


def read(environ: Mapping[str, str], *, root: Path) -> Environment:
    """Read and check the settings.

    Raises: BadEnvironment.
    """
    name = _choice(environ, "HYPEREAL_ENV", ENVIRONMENTS, "local")
    data_dir = root / environ.get("HYPEREAL_DATA_DIR", "var")
    database_url, redis_url = environ.get("DATABASE_URL", ""), environ.get("REDIS_URL", "")
    owner_database_url = environ.get("HYPEREAL_OWNER_DATABASE_URL", "")
    if owner_database_url and not database_url:
        raise BadEnvironment("HYPEREAL_OWNER_DATABASE_URL is set but DATABASE_URL is not")
    if bool(database_url) != bool(redis_url):
        given, missing = ("DATABASE_URL", "REDIS_URL") if database_url else ("REDIS_URL", "DATABASE_URL")
        raise BadEnvironment(
            f"{given} is set but {missing} is not: set both for production, none for the embedded default"
        )
    workers = _integer(environ, "HYPEREAL_WORKERS", 1, least=1, most=256)
    if workers > 1 and not database_url:
        raise BadEnvironment(
            f"HYPEREAL_WORKERS={workers} needs DATABASE_URL and REDIS_URL: the embedded default is one process"
        )
    found = _secrets(environ, production=name == "production", data_dir=data_dir)
    host, port = environ.get("HOST", "127.0.0.1"), _integer(environ, "PORT", 8000, least=1, most=65535)
    return Environment(
        name=name,
        data_dir=data_dir,
        has_journal=_choice(environ, "HYPEREAL_JOURNAL", JOURNAL_MODES, "on") == "on",
        credential_dir=root / environ.get("HYPEREAL_CREDENTIAL_DIR", CREDENTIAL_DIR),
        database_url=database_url,
        owner_database_url=owner_database_url,
        redis_url=redis_url,
        workers=workers,
        host=host,
        port=port,
        public_url=environ.get("HYPEREAL_PUBLIC_URL", "").rstrip("/") or f"http://{host}:{port}",
        allowed_hosts=_names(environ, "ALLOWED_HOSTS"),
        csrf_trusted_origins=_names(environ, "CSRF_TRUSTED_ORIGINS"),
        trusted_proxies=_names(environ, "HYPEREAL_TRUSTED_PROXIES"),
        email_url=environ.get("EMAIL_URL", ""),
        signup=_choice(environ, "HYPEREAL_SIGNUP", SIGNUP_MODES, "invite"),
        metrics_token=environ.get("HYPEREAL_METRICS_TOKEN", ""),
        secret_key=found["SECRET_KEY"],
        key_pepper=found["HYPEREAL_KEY_PEPPER"],
        encryption_keys=tuple(key.strip() for key in found["HYPEREAL_ENCRYPTION_KEYS"].split(",") if key.strip()),
    )


def read_or_exit(*, root: Path) -> Environment:
    """Read the process's environment; on a mistake print one line and exit 2."""
    try:
        return read(os.environ, root=root)
    except BadEnvironment as mistake:
        stop(str(mistake))


def stop(reason: str) -> NoReturn:
    print(f"hypereal: {reason}", file=sys.stderr)
    raise SystemExit(2)


def _names(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in environ.get(name, "").split(",") if part.strip())


def _choice(environ: Mapping[str, str], name: str, choices: tuple[str, ...], default: str) -> str:
    value = environ.get(name, "") or default
    if value not in choices:
        raise BadEnvironment(f"{name} is {value!r}: use one of {', '.join(choices)}")
    return value


def _integer(environ: Mapping[str, str], name: str, default: int, *, least: int, most: int) -> int:
    text = environ.get(name, "") or str(default)
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise BadEnvironment(f"{name} is {text!r}: use a number from {least} to {most}")
    return int(text)


def _secrets(environ: Mapping[str, str], *, production: bool, data_dir: Path) -> dict[str, str]:
    given = {name: environ[name] for name in SECRET_NAMES if environ.get(name)}
    missing = [name for name in SECRET_NAMES if name not in given]
    if missing and production:
        raise BadEnvironment(f"HYPEREAL_ENV=production needs {' and '.join(missing)}")
    found = {**_generated(data_dir), **given} if missing else given
    for key in found["HYPEREAL_ENCRYPTION_KEYS"].split(","):
        try:
            Fernet(key.strip())
        except ValueError:
            raise BadEnvironment(
                "HYPEREAL_ENCRYPTION_KEYS must be Fernet keys (32 url-safe base64-encoded bytes), newest first"
            ) from None
    return found


def _generated(data_dir: Path) -> dict[str, str]:
    """The secrets of a local installation: made once, kept readable by their owner only."""
    path = data_dir / SECRETS_FILE
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        fresh = {
            "SECRET_KEY": secrets.token_urlsafe(48),
            "HYPEREAL_KEY_PEPPER": secrets.token_urlsafe(32),
            "HYPEREAL_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
        }
        # Two processes may start at once: write beside, then link, so that the first one wins whole.
        draft = path.with_suffix(f".{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(fresh, indent=1))
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    loaded: dict[str, str] = json.loads(path.read_text())
    return loaded
