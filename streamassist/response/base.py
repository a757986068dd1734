"""The response interface: policies score every frame, the shared gate decides.

A policy for remarks says how much a frame calls for one; a policy for goals says how likely a watch
rule's condition has come true. Both only read signals; what is costly to measure is measured when
`wants` names it, so that scores follow from logged signals alone.
"""
from dataclasses import dataclass
from typing import ClassVar

from streamassist.types import FrameSignals

NOTHING: frozenset[str] = frozenset()


@dataclass
class ResponsePolicy:
    """`score` is cheap, causal and generates nothing.

    needs: what the model must have been trained for, of "flag" (`FrameSignals.p_silence`) and
    "silent" (a token for it in `choice_ids`); hi: the published threshold in units of the score;
    looks_first: a stream's first remark needs no score.
    """

    looks_first: ClassVar[bool] = True

    needs: ClassVar[frozenset[str]] = NOTHING
    hi: ClassVar[float] = 0.7

    def wants(self, signals: FrameSignals) -> frozenset[str]:
        """Costly signals to measure for this frame, by name."""
        return NOTHING

    def score(self, signals: FrameSignals) -> float:
        """How much this frame calls for a remark, 0..1."""
        return 0.0

    def on_spoken(self, t: float) -> None:
        """A remark about the frame at `t` was made."""

    def reset(self) -> None:
        """Another stream begins."""


@dataclass
class GoalPolicy:
    """One instance sees to all goals; `goal` is a rule's id. hi, held_s: from which score, and for
    how long, a condition has come true, where the rule does not say."""

    hi: ClassVar[float] = 0.7
    held_s: ClassVar[float] = 0.0

    def wants(self, goal: int, signals: FrameSignals) -> frozenset[str]:
        """Costly signals to measure for this goal at this frame: of p_yes, p_now, p_graph and
        relevance."""
        return frozenset({"p_yes"})

    def score(self, goal: int, signals: FrameSignals) -> float:
        """How likely the goal's condition has come true, 0..1."""
        return signals.p_yes[goal]

    def drop(self, goal: int) -> None:
        """This rule is gone."""

    def reset(self) -> None:
        """Another stream begins."""
