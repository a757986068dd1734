"""The measures of timing, on examples worked out by hand."""
import pytest

from benchmarks.timing_scores import (
    duplicates,
    hits,
    in_span,
    omnistar,
    ovo_decayed,
    ovo_forward,
    ovo_repeats,
    ovo_yes_no,
    pauc,
    proactive_output,
    trigger_accuracy,
)


def test_a_prediction_counts_for_one_event_only():
    found = hits([10.0, 11.0, 30.0], [11.5, 40.0])
    assert (found.events, found.hit, found.said) == (3, 1, 2)
    assert found.delays == (1.5,)
    assert found.recall == pytest.approx(1 / 3) and found.precision == 0.5
    assert found.f1 == pytest.approx(0.4)


def test_early_and_late_are_misses():
    assert hits([10.0], [9.9, 13.1]).hit == 0
    assert hits([10.0], [10.0]).hit == hits([10.0], [13.0]).hit == 1
    assert hits([], [1.0]).recall == hits([1.0], []).precision == hits([1.0], []).f1 == 0.0


def test_a_premature_word_spoils_the_trigger():
    assert trigger_accuracy([10.0, 20.0], [5.0, 11.0, 21.0]) == 0.5
    assert trigger_accuracy([10.0, 20.0], [11.0, 21.0]) == 1.0
    assert trigger_accuracy([10.0], []) == 0.0


def test_omnistar_by_hand():
    told = omnistar([2.0, 10.0], [2.0, 5.0, 6.0])
    assert told == {"TimDiff": 1.0, "TimRedun": 0.5, "TimCover": 1.0}   # spans [2,2] and [3,10]
    silent = omnistar([2.0, 10.0], [])
    assert silent == {"TimDiff": 3.5, "TimRedun": 1.0, "TimCover": 0.0}


def test_pauc_by_hand():
    assert pauc((0.0, 10.0), []) == 0.25
    assert pauc((0.0, 10.0), [(5.0, 2.0)], weight=0.0) == pytest.approx((2.5 + 10) / 20)
    assert pauc((0.0, 10.0), [(5.0, 2.0)], weight=1.0) == 1.0
    assert pauc((0.0, 10.0), [(2.0, 0.0), (6.0, 2.0)], weight=0.0) == pytest.approx((1 + 8) / 20)


def test_in_span_gives_one_to_events_missed():
    assert in_span([(0.0, 5.0), (10.0, 12.0)], [(1.0, 5.0), (2.0, 3.0), (7.0, 5.0)]) == 2.5
    assert in_span([], []) == 1.0


def test_proactive_output_takes_two_seconds_to_either_side():
    assert proactive_output([10.0, 20.0, 30.0], [8.0, 22.1]) == pytest.approx(1 / 3)


def test_ovo_as_its_scorer_reads_replies():
    assert ovo_repeats("I count 3.", 3) and not ovo_repeats("3 or 4", 3) and not ovo_repeats("", 0)
    assert ovo_yes_no("Yes, it is.", True) and ovo_yes_no("N", False)
    assert not ovo_yes_no("Perhaps", True)
    assert ovo_forward({"SSR": [True, False], "CRR": [True, True]}) == 0.75
    assert ovo_decayed([True, True, False, True], [0.0, 2.0, 0.0, -1.0]) == pytest.approx(1.5 / 4)


def test_duplicates():
    assert duplicates(["A dog.", "a dog", "A cat.", "A dog."]) == 0.5
    assert duplicates([]) == 0.0
