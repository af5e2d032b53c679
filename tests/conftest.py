"""Fixtures of every room, and the last lines of a run: what was not tested, and why.

A test marked `kernel`, `family` or `guest` that can't run here is skipped with a reason on a developer's machine. Where everything is
demanded (CI=true or LIBRESPOT_GUARD_DEMAND_ALL=1) the same skip is a failure: a green run then means that all of it ran.
"""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Generator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator

from support import SOURCE, Guard, Schema, Validator, everything_is_demanded, missing_kernel_feature, path_with_sbin

# a busy machine is slow by the clock, which says nothing about a strategy
settings.register_profile("busy", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("busy")

NEEDS_THE_MACHINE = ("kernel", "family", "guest")


def pytest_configure(config: pytest.Config) -> None:
    """Let tests find nft and ip where an ordinary user's PATH has no /usr/sbin, and let them interrupt what they start.

    A shell starts its background jobs with SIGINT ignored, nohup its command with SIGHUP; what is ignored stays ignored in every child.
    """
    os.environ["PATH"] = path_with_sbin()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def guard(tmp_path: Path) -> Guard:
    """Run the command line in a process of its own, away from this machine's state and boot files."""

    def run(
        *arguments: str | Path,
        prefix: tuple[str, ...] = (),
        stdin: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*prefix, sys.executable, "-m", "librespot_guard", *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            input="" if stdin is None else stdin,
            cwd=cwd,
            timeout=timeout,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, [str(SOURCE.parent), os.environ.get("PYTHONPATH", "")])),
                "LIBRESPOT_GUARD_STATE": str(tmp_path / "state"),
                "LIBRESPOT_GUARD_ETC": str(tmp_path / "root"),
                **(env or {}),
            },
        )

    return run


@pytest.fixture(scope="session")
def schema() -> Schema:
    """Find the JSON Schema of a document: `schema("scan").validate(document)`."""

    def find(name: str) -> Validator:
        content = json.loads((SOURCE / "schemas" / f"{name}.json").read_text(encoding="utf-8"))
        Draft202012Validator.check_schema(content)
        return Draft202012Validator(content, format_checker=Draft202012Validator.FORMAT_CHECKER)

    return find


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests in the guest first: they share one boot, and so stay with one worker, which has the most of the time left."""
    items.sort(key=lambda item: item.get_closest_marker("guest") is None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test that needs the real kernel where the kernel can't give it what it needs."""
    if item.get_closest_marker("kernel") and (reason := missing_kernel_feature()):
        pytest.skip(reason)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where everything is demanded."""
    report = yield
    if report.skipped and everything_is_demanded() and any(item.get_closest_marker(m) for m in NEEDS_THE_MACHINE):
        report.outcome = "failed"
        report.longrepr = f"not tested, and everything is demanded here: {_reason(report)}"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """Say what was not tested and why, after pytest's own last line."""
    yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(session.config, "workerinput"):
        return
    ran = Counter(
        value
        for outcome in ("passed", "failed")
        for report in reporter.stats.get(outcome, [])
        for name, value in report.user_properties
        if name == "daemon"
    )
    for daemon, count in sorted(ran.items()):
        reporter.write_line(f"ran with {daemon} ({count} test{'s' if count > 1 else ''})")
    skipped = Counter(_reason(report) for report in reporter.stats.get("skipped", []))
    for reason, count in sorted(skipped.items()):
        reporter.write_line(f"not tested: {reason} ({count} test{'s' if count > 1 else ''})")


def _reason(report: pytest.TestReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
