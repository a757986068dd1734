"""The one gate behind every response policy, so that all are compared under equal limits.

Hysteresis with k of n confirmation, refractory time, token bucket, duplicate and staleness checks,
and silence at the start. It applies to remarks; questions and watch rules do not pass here.
"""
from collections import deque
from difflib import SequenceMatcher

from streamassist.config import GateConfig
from streamassist.types import Decision, FrameSignals

SPEAK, SILENT = "speak", "silent"


class Gate:
    """One conversation's gate. Times are stream seconds. `first_look`: a stream's first remark
    needs no score, so that a user sees at once that there is somebody."""

    def __init__(
        self, config: GateConfig, threshold: float | None = None, first_look: bool = False
    ):
        self.config, self.first_look = config, first_look
        self.threshold = config.hi if threshold is None else threshold
        self.refill_s = config.refill_s   # one more remark for each so many seconds
        self.reset()

    def reset(self) -> None:
        self._recent: deque[bool] = deque(maxlen=self.config.confirm_of)
        self._texts: deque[str] = deque(maxlen=self.config.remembered_texts)
        self._armed, self._looking = True, self.first_look
        self._start: float | None = None
        self._quiet_from = float("-inf")
        self._tokens = float(self.config.bucket)
        self._refilled: float | None = None

    def decide(self, signals: FrameSignals, score: float) -> Decision:
        """Silent or speak, with the reason; call once per frame."""
        if self._start is None:
            self._start = self._refilled = signals.t
        self._refill(signals.t)
        self._recent.append(score >= self.threshold)
        calm = min(self.config.lo, self.threshold)
        if score < calm or signals.novelty > self.config.rearm_novelty:
            self._armed = True
        reason = self._why_silent(signals)
        if reason:
            return Decision(SILENT, score, reason)
        why = "a first look" if self._looking else "something new is in view"
        return Decision(SPEAK, score, why, ttl_s=self.config.ttl_s)

    def _why_silent(self, signals: FrameSignals) -> str:
        config = self.config
        if sum(self._recent) < config.confirm and not self._looking:
            return "nothing new enough"
        checks = (
            (signals.t - self._start < config.start_silence_s, "the stream has just begun"),
            (signals.user_speaking, "the user is speaking"),
            (signals.assistant_speaking, "an answer is being given"),
            (signals.pending_query is not None, "a question waits"),
            (not self._armed, "already said; waiting for calm or for something else"),
            (signals.t < self._quiet_from + config.refractory_s, "spoke a moment ago"),
            (self._tokens < 1, "enough said for now"),
            (signals.lag_s > config.max_lag_s, "too far behind the picture"),
        )
        return next((why for fails, why in checks if fails), "")

    def _refill(self, t: float) -> None:
        gained = max(0.0, t - self._refilled) / self.refill_s
        self._tokens = min(float(self.config.bucket), self._tokens + gained)
        self._refilled = t

    def repeats(self, text: str) -> bool:
        """True when `text` says nearly the same as one of the last remarks."""
        return any(similarity(text, old) > self.config.same_text for old in self._texts)

    def stale(self, seen_at: float, now: float) -> bool:
        return now - seen_at > self.config.ttl_s

    def spoken(self, text: str, t: float) -> None:
        """A remark went out: pay for it, and be quiet for a while."""
        self._texts.append(text)
        self._tokens -= 1
        self._armed = self._looking = False
        self._quiet_from = t

    def withheld(self) -> None:
        """A remark was made but not said (a repeat, or too late): wait for something else."""
        self._armed = False
        self._recent.clear()


def similarity(a: str, b: str) -> float:
    """0..1, of the words."""
    return SequenceMatcher(None, a.lower().split(), b.lower().split()).ratio()
