"""A browser, the page served with a scripted assistant, and a tab that shows it."""
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from browsers import browser, camera_flags, chromium, make_camera, opened
from fake_backend import FakeBackend
from served import Served, serving


@pytest.fixture(scope="module")
def driver() -> Iterator[Playwright]:
    """One for all: playwright allows no second one in a thread."""
    chromium()
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="module")
def chrome(driver: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(driver, *camera_flags(make_camera(tmp_path_factory.mktemp("camera")))) as chrome:
        yield chrome


@pytest.fixture
def served() -> Iterator[Served]:
    with serving(FakeBackend(word_s=0.03)) as served:
        yield served


@pytest.fixture
def page(chrome: Browser, served: Served) -> Iterator[Page]:
    with opened(chrome, served) as page:
        yield page
