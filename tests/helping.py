"""A desk whose assistant may use tools and a delegate, patience, and written words."""
import time
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from desk import Desk
from streamassist.config import Config
from streamassist.session import Session
from streamassist.speaker import Speaker
from streamassist.tools import Helpers
from streamassist.tools.base import Found, ToolDesk
from streamassist.types import Answer, Event, Frame

QUIET = Config(response="on_query")
LOCAL = "I see a dark red picture."   # the scripted model's answer at a red frame
PATIENCE_S = 60.0   # of a test with another thread


def look(session: Session) -> ToolDesk:
    """What tools may look at now."""
    return session._look()


def helped(desk: Desk, *tools, delegate=None) -> Desk:
    """The same desk with these tools and this delegate."""
    session = desk.session
    session.speaker = Speaker(
        session.timing, session.clock, session.emit, Helpers(tools, delegate),
        lambda: look(session),
    )
    return desk


def until(condition: Callable[[], object], step: Callable[[], None] = lambda: time.sleep(0.01)):
    """Take steps until the condition holds, and return what it gave."""
    end = time.monotonic() + PATIENCE_S
    while not (held := condition()):
        assert time.monotonic() < end, "this never came true"
        step()
    return held


def answers(desk: Desk, count: int = 1) -> list[Answer]:
    """Let the assistant talk until it has given so many answers."""
    until(lambda: len(desk.of(Answer)) >= count, lambda: desk.talk(1))
    return desk.of(Answer)


def written(*lines: str, width: int = 640, height: int = 480, size: int = 36) -> np.ndarray:
    """White words on blue, one line below the other."""
    picture = Image.new("RGB", (width, height), (30, 50, 90))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size)
    for i, line in enumerate(lines):
        draw.text((40, 40 + 2 * size * i), line, fill="white", font=font)
    return np.asarray(picture)


def show(desk: Desk, image: np.ndarray) -> None:
    """One more frame, without talk."""
    desk.session.observe(Frame(image, desk.count / 2, desk.count))
    desk.count += 1
    desk.clock.now += 0.5


class Lookup:
    """A tool that finds what it is told to find."""

    name = "look_up"

    def __init__(self, find: Callable[[], Found], slow: bool = False):
        self.find, self.slow = find, slow

    def wants(self, question: str) -> bool:
        return "look up" in question

    def run(self, question: str, desk: ToolDesk) -> Found:
        return self.find()


def texts(desk: Desk, kind: type[Event]) -> list[str]:
    return [event.text for event in desk.of(kind)]
