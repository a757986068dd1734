"""A session with the scripted model, and pictures of one colour."""
import numpy as np

from app import make_timing
from models.fake import FakeLLM
from streamassist.clock import ManualClock
from streamassist.config import Config, make_method
from streamassist.engine import Engine
from streamassist.memory import METHODS as MEMORY
from streamassist.session import Session
from streamassist.timing import Timing
from streamassist.types import Event, Frame

RED, GREEN, BLUE, WHITE = (200, 20, 20), (20, 200, 20), (20, 20, 200), (240, 240, 240)
FPS = 2.0


def frame(colour: tuple[int, int, int], index: int) -> Frame:
    return Frame(np.full((24, 32, 3), colour, np.uint8), index / FPS, index)


class Desk:
    """A session and what it said. `now` follows the newest frame."""

    def __init__(
        self, model: FakeLLM | None = None, config: Config | None = None,
        timing: Timing | None = None,
    ):
        self.events: list[Event] = []
        self.model, self.config = model or FakeLLM(), config or Config()
        self.clock, self.count = ManualClock(), 0
        self.session = Session(
            self.make_engine, timing or make_timing(self.config), self.config, self.clock,
            self.events.append,
        )

    def make_engine(self) -> Engine:
        policy = make_method("memory", self.config.memory, MEMORY)
        return Engine(self.model, policy, self.config.engine)

    @property
    def now(self) -> float:
        return max(0, self.count - 1) / FPS

    def watch(self, *colours: tuple[int, int, int], talk: bool = True) -> None:
        """Show frames, letting the assistant talk between them."""
        for colour in colours:
            self.session.observe(frame(colour, self.count))
            self.count += 1
            self.clock.now += 1 / FPS
            if talk:
                self.talk(8)

    def talk(self, tokens: int = 200) -> None:
        for _ in range(tokens):
            if self.session.busy:
                self.session.advance(self.now)

    def submit(self, command) -> None:
        self.session.submit(command, self.now)

    def of(self, kind: type[Event]) -> list:
        return [e for e in self.events if isinstance(e, kind)]
