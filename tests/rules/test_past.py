"""A rule tried on the past: which pictures are looked at, when it would have fired."""
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamassist.errors import StreamAssistError
from streamassist.rules import Rule, spaced, would_have_fired


def test_it_fires_in_the_past_as_it_would_have_then_and_stays_as_it_is():
    rule = Rule.of(1, "Tell me when a dog sits for 20 seconds between 9 am and 9:01 am", 500.0)
    rule.check(0.9, 510.0)
    rule.snooze(100)
    before = rule.view()
    scores = [0.1, 0.9, 0.9, 0.9, 0.1, 0.9, 0.1, 0.9, 0.9, 0.934567]
    looked = [(10.0 * i, 20 * i, score) for i, score in enumerate(scores)]
    assert would_have_fired(rule, looked) == [
        {"t": 30.0, "frame": 60, "score": 0.9}, {"t": 90.0, "frame": 180, "score": 0.935},
    ]
    assert rule.view() == before


def test_a_rule_that_is_done_is_tried_as_a_new_one():
    rule = Rule.of(1, "Tell me once when a dog appears", 0.0)
    assert rule.check(0.9, 0.0) and rule.done
    looked = [(0.0, 0, 0.9), (60.0, 1, 0.1), (61.0, 2, 0.9)]
    assert [fired["t"] for fired in would_have_fired(rule, looked)] == [0.0]


def test_a_reminder_has_no_past():
    with pytest.raises(StreamAssistError, match="try a rule about the picture"):
        would_have_fired(Rule.of(1, "every minute remind me to drink", 0.0), [])


def test_pictures_are_even_in_time_and_not_in_number():
    """Thirty pictures within a second, then one every ten seconds."""
    burst = [(i, i / 30) for i in range(30)]
    rest = [(30 + i, 10.0 * (i + 1)) for i in range(10)]
    assert spaced(burst + rest, 11) == [(0, 0.0), *rest]
    assert spaced(burst[::-1], 2) == [burst[0], burst[-1]]
    assert spaced(burst, 1) == [burst[-1]]
    assert spaced(burst, 0) == spaced([], 5) == []


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(), st.floats(-1e6, 1e6)), max_size=50), st.integers(-1, 60)
)
def test_never_more_than_asked_for_and_in_order(frames, most):
    chosen = spaced(frames, most)
    assert len(chosen) <= max(0, most) and set(chosen) <= set(frames)
    assert [pts for _, pts in chosen] == sorted(pts for _, pts in chosen)
    if len(frames) <= most:
        assert sorted(chosen) == sorted(frames)
    elif most > 1:
        times = sorted(pts for _, pts in frames)
        assert chosen[0][1] == times[0] and chosen[-1][1] == times[-1]
