"""Credentials in files that somebody else writes, as secret mounts do: read again when they change.

All lie in one directory (HYPEREAL_CREDENTIAL_DIR): whoever may change routes can name a file of it, and no other file
of this machine ever goes to an upstream.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from django.conf import settings

from apps.accounts.mistakes import clean_line
from apps.upstreams.credential_text import MAX_BYTES, RouteMistake, check_credential

Stamp = tuple[int, int, int, int] | None
"""Device, inode, size and time of a file; None where it cannot be looked at."""

NAME_LENGTH: Final = 255


def check_file(path: str) -> str:
    """Return the name of a credential file within its directory; empty for none. It need not be there yet.

    Raises: RouteMistake, Mistake.
    """
    if not path:
        return ""
    path, directory = clean_line(path, "the credential file", most=NAME_LENGTH), _directory()
    # As it is written: what a link leads to is looked at when the file is read.
    absolute = Path(path) if Path(path).is_absolute() else directory / path
    if ".." in absolute.parts or directory not in absolute.parents:
        raise RouteMistake(f"a credential file lies in {directory} (HYPEREAL_CREDENTIAL_DIR): {path!r} does not")
    return str(absolute.relative_to(directory))


def read_file(name: str) -> str:
    """The credential in a file, without the line end; empty where there is no such file yet.

    Raises: RouteMistake.
    """
    directory = _directory()
    try:
        path = (directory / name).resolve()
        if directory.resolve() not in path.parents:
            raise RouteMistake(f"the credential file {name!r} leads out of {directory}")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return ""
    except OSError as failure:
        raise RouteMistake(f"the credential file {name!r} cannot be read: {failure.strerror}") from None
    return check_credential(data)


def stamp_of(name: str) -> Stamp:
    """What changes with the file, however it is replaced: in place, by rename, or behind a link."""
    try:
        status = (_directory() / name).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _directory() -> Path:
    directory: Path = settings.ENVIRONMENT.credential_dir
    return directory
