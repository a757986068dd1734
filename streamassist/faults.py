"""When the model fails: how often is too often, and what the user is told."""
from collections import deque

from streamassist.clock import Clock
from streamassist.errors import StreamAssistError

MAX_FAULTS, FAULT_WINDOW_S = 3, 60.0


class FaultCount:
    """More than MAX_FAULTS within FAULT_WINDOW_S seconds are too many."""

    def __init__(self, clock: Clock):
        self.clock = clock
        self._times: deque[float] = deque(maxlen=MAX_FAULTS + 1)

    def too_many(self) -> bool:
        """Count one more."""
        self._times.append(self.clock.monotonic())
        recent = [t for t in self._times if self._times[-1] - t < FAULT_WINDOW_S]
        return len(recent) > MAX_FAULTS


def sentence(error: Exception, fatal: bool) -> str:
    """For the user."""
    what = str(error) if isinstance(error, StreamAssistError) else type(error).__name__
    if fatal:
        return (
            f"The model failed again and again ({what}), so it was stopped. "
            "Your conversation is kept; restart the program or choose another model."
        )
    return (
        f"The model stumbled ({what}) and was restarted. Your conversation and rules are kept; "
        "please ask again if an answer was cut off."
    )
