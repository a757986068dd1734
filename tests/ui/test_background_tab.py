"""A hidden tab goes on filming. By raw DevTools protocol: playwright switches throttling off."""
from pathlib import Path

import pytest

from browsers import make_camera
from devtools import chrome, new_tab, tab
from fake_backend import FakeBackend
from served import serving, wait_for

pytestmark = pytest.mark.browser

WATCH_S = 4.0
WITHOUT_PROCESSOR = "delete window.MediaStreamTrackProcessor"


@pytest.mark.parametrize("script", ["", WITHOUT_PROCESSOR], ids=["processor", "timer"])
def test_a_hidden_tab_keeps_sending_pictures(tmp_path: Path, script: str) -> None:
    with serving(FakeBackend(remark_s=1e9)) as served, \
            chrome(tmp_path, make_camera(tmp_path)) as port, tab(port, served.url, script) as page:
        page.wait_until_linked()
        assert page.evaluate("'MediaStreamTrackProcessor' in window") == (not script)
        page.evaluate("document.querySelector('[data-source=camera]').click()")
        wait_for(lambda: len(served.backend.jpegs) > 3)
        new_tab(port)
        wait_for(lambda: page.hidden)
        sizes = _sizes_after(served.backend, WATCH_S)
        assert page.hidden
        assert len(sizes) >= 0.6 * 4 * WATCH_S, "asked for 4 pictures a second"
        assert len(set(sizes)) > 3, "the same picture was sent again and again"


def _sizes_after(backend: FakeBackend, seconds: float) -> list[int]:
    """Sizes of the pictures that arrive within `seconds` of their own clock."""
    start = len(backend.jpegs)
    began = backend.jpegs[-1][0]
    wait_for(lambda: backend.jpegs[-1][0] - began >= seconds, 3 * seconds)
    return [size for _, size in backend.jpegs[start:]]
