"""A rule tried on what was seen already: which pictures to look at, when it would have fired."""
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from streamassist.errors import StreamAssistError
from streamassist.rules.rule import Rule


def spaced(frames: Sequence[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    """At most `most` of the frames (index, pts), in order of time, as even in time as they come,
    with the first and the last of them."""
    frames = sorted(frames, key=lambda frame: frame[1])
    if most < 1 or len(frames) <= most:
        return frames[:max(0, most)]
    times = [pts for _, pts in frames]
    step = (times[-1] - times[0]) / max(1, most - 1)
    wanted = [times[0] + i * step for i in range(most - 1)] + [times[-1]]
    chosen = {_nearest(times, t) for t in wanted}
    return [frames[i] for i in sorted(chosen)]


def _nearest(times: list[float], t: float) -> int:
    after = min(bisect_left(times, t), len(times) - 1)
    before = max(0, after - 1)
    return before if t - times[before] < times[after] - t else after


def would_have_fired(
    rule: Rule, looked: Iterable[tuple[float, int, float]]
) -> list[dict[str, Any]]:
    """The alerts that a rule would have given: [{"t": seconds, "frame": index, "score": 0..1}].

    `looked`: (pts, frame index, probability) of pictures in order of time. The rule itself stays as
    it is. Snoozing does not count, nor do its hours: pts is no time of day. Raises
    StreamAssistError for a reminder.
    """
    if rule.kind == "time":
        raise StreamAssistError(
            "A reminder comes at its time, so there is no past to try it on; try a rule about the "
            'picture, for instance "Tell me when a dog appears".'
        )
    trial = replace(rule, since=0.0, snoozed_until=None)
    return [
        {"t": round(t, 3), "frame": frame, "score": round(score, 3)}
        for t, frame, score in looked if trial.check(score, t)
    ]
