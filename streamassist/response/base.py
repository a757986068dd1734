"""The response interface: a policy scores every frame, the shared gate decides."""
from dataclasses import dataclass

from streamassist.types import FrameSignals


@dataclass
class ResponsePolicy:
    """`score` is cheap, causal and generates nothing."""

    def score(self, signals: FrameSignals) -> float:
        """How much this frame calls for a remark, 0..1."""
        return 0.0

    def on_spoken(self, t: float) -> None:
        """A remark about the frame at `t` was made."""

    def reset(self) -> None:
        """Another stream begins."""
