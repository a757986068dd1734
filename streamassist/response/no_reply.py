"""MMDuet2 (arXiv 2512.06810): the model itself answers "NO REPLY" or something to say.

Their model is trained to; an unmodified one is only prompted, which is what the spec allows without
training. The score is the probability that the first words are not NO REPLY.
"""
from dataclasses import dataclass
from typing import ClassVar

from streamassist.response.base import ResponsePolicy
from streamassist.types import FrameSignals


@dataclass
class NoReply(ResponsePolicy):
    hi: ClassVar[float] = 0.5

    def wants(self, signals: FrameSignals) -> frozenset[str]:
        return frozenset({"p_no_reply"})

    def score(self, signals: FrameSignals) -> float:
        return 1.0 - (1.0 if signals.p_no_reply is None else signals.p_no_reply)
