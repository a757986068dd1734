"""LiveCC (arXiv 2504.16030): asked for a live remark, does the model begin with "..."?

The published processor lets the closing " ..." pass only above a base probability (0 in the demo,
which is off); the score is the probability of another first token. Unmodified models are asked by
a prompt (our inference), at the cost of one short prefill a frame.
"""
from dataclasses import dataclass
from typing import ClassVar

from streamassist.response.base import ResponsePolicy
from streamassist.types import FrameSignals


@dataclass
class LiveCC(ResponsePolicy):
    hi: ClassVar[float] = 0.5   # the likelier of the two, as their base of 0 means

    def wants(self, signals: FrameSignals) -> frozenset[str]:
        return frozenset({"p_first"})

    def score(self, signals: FrameSignals) -> float:
        return 1.0 - (1.0 if signals.p_first is None else signals.p_first)
