"""`make faults`: what it prints, what it returns, and what it writes down."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.faults import run
from tests.faults.clusters import server_programs
from tests.faults.redis_server import has_redis
from tests.faults.table import SHOWN, Row

pytestmark = pytest.mark.skipif(
    server_programs() is None or not has_redis(), reason="the servers' programs are missing"
)

HELD = Row("K0 nothing happens", 200, figures="all well")
BROKEN = Row("K0 something happens", 3, ["I1: a credit is gone", *(f"I2: {number}" for number in range(6))], "not well")


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """`suite(quiet=[HELD])`: the faults that there are."""
    page = tmp_path / "faults.md"
    page.write_text("# Faults\n\n<!-- figures -->\nold\n<!-- /figures -->\n\nThe end.\n")
    monkeypatch.setattr(run, "PAGE", page)

    def make(**faults: list[Row] | Exception) -> None:
        for name, outcome in faults.items():
            module = ModuleType(f"tests.faults.{name}")
            module.run = lambda scale, outcome=outcome: _give(outcome)  # type: ignore[attr-defined]
            monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(run, "FAULTS", tuple(faults))
        monkeypatch.setattr(run, "BESIDE", {})

    return make


def _give(outcome: list[Row] | Exception) -> list[Row]:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def test_all_that_held_is_a_success(suite: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    suite(quiet=[HELD, HELD])
    assert run.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "2 passed, 0 failed"
    assert lines[0].split() == ["fault", "runs", "violations", "figures"]
    assert lines[1].split() == ["K0", "nothing", "happens", "200", "0", "all", "well"]


def test_a_violation_is_told_and_fails_the_run(suite: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    suite(quiet=[HELD], loud=[BROKEN])
    assert run.main([]) == 1
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "1 passed, 1 failed"
    assert "    I1: a credit is gone\n" in out
    assert f"    and {len(BROKEN.violations) - SHOWN} more\n" in out


def test_a_fault_that_cannot_be_run_has_not_passed(
    suite: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    suite(quiet=[HELD], odd=RuntimeError("no disk"))
    assert run.main([]) == 1
    assert "could not be run: RuntimeError('no disk')" in capsys.readouterr().out


def test_one_fault_can_be_run_alone(suite: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    suite(quiet=[HELD], loud=[BROKEN])
    assert run.main(["quiet", "--scale", "0.5"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 0 failed"
    with pytest.raises(SystemExit):
        run.main(["thunder"])


def test_the_page_gets_the_last_figures(suite: Callable[..., None]) -> None:
    suite(quiet=[HELD], loud=[BROKEN])
    run.main(["--write"])
    page = run.PAGE.read_text()
    assert "| K0 nothing happens | 200 | 0 | all well |\n" in page
    assert "| K0 something happens | 3 | 7 | not well |\n" in page
    assert "1 passed, 1 failed." in page
    assert "old" not in page
    assert page.endswith("<!-- /figures -->\n\nThe end.\n")


def test_what_mostly_waits_has_company(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "BESIDE", {"slow": "busy"})
    assert run.in_groups(["slow", "quick", "busy"]) == [["slow", "busy"], ["quick"]]
    assert run.in_groups(["quick", "busy"]) == [["quick"], ["busy"]]
    assert run.in_groups(["slow"]) == [["slow"]]
