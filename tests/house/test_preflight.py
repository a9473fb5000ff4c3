"""What must hold before a server starts."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from hypereal import preflight
from hypereal.environment import Environment
from hypereal.preflight import CannotStart

PASSWORD = "hunter2"


def why(environment: Environment) -> str:
    with pytest.raises(CannotStart) as caught:
        preflight.check_settings(environment)
    return str(caught.value)


def test_production_needs_host_names(local_environment: Environment) -> None:
    production = replace(local_environment, name="production")
    assert "HYPEREAL_ENV=production needs ALLOWED_HOSTS" in why(production)
    preflight.check_settings(replace(production, allowed_hosts=("gateway.example",)))


@pytest.mark.parametrize(
    ("database_url", "redis_url", "line"),
    [
        ("sqlite:///x", "redis://x", "DATABASE_URL must begin with postgres://"),
        ("localhost", "redis://x", "DATABASE_URL must begin with postgres://"),
        (f"postgres://u:{PASSWORD}/x@host/db", "redis://x", "DATABASE_URL cannot be read"),
        ("postgres://x/y", "http://x", "REDIS_URL must begin with redis://"),
    ],
)
def test_a_wrong_url_is_named_and_not_shown(
    local_environment: Environment, database_url: str, redis_url: str, line: str
) -> None:
    told = why(replace(local_environment, database_url=database_url, redis_url=redis_url))
    assert told.startswith(line)
    assert PASSWORD not in told


def test_a_taken_port_is_one_line(local_environment: Environment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart) as caught:
            preflight.listen(replace(local_environment, port=port))
    assert str(caught.value) == f"127.0.0.1:{port} is taken: stop what listens there, or set PORT"


def test_an_address_of_another_machine_is_one_line(local_environment: Environment) -> None:
    with pytest.raises(CannotStart, match=r"^cannot listen on 192\.0\.2\.1:8000: "):
        preflight.listen(replace(local_environment, host="192.0.2.1"))


def test_one_server_per_data_directory(local_environment: Environment, tmp_path: Path) -> None:
    ours = replace(local_environment, data_dir=tmp_path)
    with (
        preflight.data_directory(ours),
        pytest.raises(CannotStart, match=r"^another server \(process \d+\) runs on "),
    ):
        preflight.data_directory(ours).__enter__()
    with preflight.data_directory(ours):
        pass


def test_a_file_in_the_data_directorys_place_is_one_line(local_environment: Environment, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(CannotStart, match=r"^cannot write to "):
        preflight.data_directory(replace(local_environment, data_dir=path)).__enter__()


def test_a_journal_without_a_place_is_one_line(local_environment: Environment, tmp_path: Path) -> None:
    environment = replace(local_environment, data_dir=tmp_path)
    preflight.check_journal(environment)
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o700
    assert list((tmp_path / "journal").iterdir()) == []
    in_the_way = tmp_path / "other"
    in_the_way.mkdir()
    (in_the_way / "journal").write_text("a file")
    environment = replace(local_environment, data_dir=in_the_way)
    with pytest.raises(CannotStart) as caught:
        preflight.check_journal(environment)
    assert str(caught.value) == (
        f"cannot keep the settlement journal in {in_the_way / 'journal'}: File exists; let HYPEREAL_DATA_DIR be a place"
        " that lasts, or set HYPEREAL_JOURNAL=off"
    )
    preflight.check_journal(replace(environment, has_journal=False))


@pytest.mark.django_db
def test_redis_out_of_reach_is_one_line_without_its_password(local_environment: Environment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    unreachable = replace(
        local_environment,
        database_url="postgres://127.0.0.1/x",
        redis_url=f"redis://:{PASSWORD}@127.0.0.1:{port}/0",
    )
    with pytest.raises(CannotStart) as caught:
        preflight.check_stores(unreachable)
    told = str(caught.value)
    assert told.startswith(f"cannot use Redis at 127.0.0.1:{port}/0: ")
    assert PASSWORD not in told
    assert "\n" not in told
