"""The response interface: a policy scores every frame, the shared gate decides."""
from dataclasses import dataclass
from typing import ClassVar

from streamassist.types import FrameSignals


@dataclass
class ResponsePolicy:
    """`score` is cheap, causal and generates nothing.

    needs_flag: it reads `FrameSignals.p_silence`, which only some models give.
    """

    needs_flag: ClassVar[bool] = False

    def score(self, signals: FrameSignals) -> float:
        """How much this frame calls for a remark, 0..1."""
        return 0.0

    def on_spoken(self, t: float) -> None:
        """A remark about the frame at `t` was made."""

    def reset(self) -> None:
        """Another stream begins."""
