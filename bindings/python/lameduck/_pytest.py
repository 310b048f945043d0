"""The pytest plugin. It imports nothing until a test asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .testing import Clock


@pytest.fixture
def lameduck_clock() -> type[Clock]:
    """Virtual time for an application's shutdown: see ``lameduck.testing.Clock``."""
    from .testing import Clock

    return Clock


@pytest.fixture
def lameduck_drain() -> Callable[..., dict[str, Any]]:
    """Starts an application, stops it, and returns the report: see ``lameduck.testing.drain``."""
    from .testing import drain

    return drain


@pytest.fixture
def lameduck_stop() -> Callable[..., Any]:
    """Runs a server and sends it SIGTERM under load: see ``lameduck.testing.stop_under_load``."""
    from .testing import stop_under_load

    return stop_under_load
