"""Which daemon a test ran with is kept for the last lines of the run."""

from collections.abc import Callable

import pytest

from family.ask import obtained


@pytest.fixture
def told(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Note that this test runs with a daemon: itself or a stand-in for it."""

    def tell(name: str) -> None:
        daemon = obtained(name)
        record_property("daemon", f"{name}: {daemon.title}")

    return tell
