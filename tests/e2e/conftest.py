"""A browser whose camera plays a real clip."""
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from browsers import browser, camera_flags, chromium
from e2e.whole import film_of


@pytest.fixture(scope="module")
def film(clip: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the camera sees: the road in front of a car."""
    return film_of(clip("highway_dash"), tmp_path_factory.mktemp("film") / "camera.mjpeg")


@pytest.fixture(scope="module")
def chrome(film: Path) -> Iterator[Browser]:
    chromium()
    with sync_playwright() as driver, browser(driver, *camera_flags(film)) as chrome:
        yield chrome
