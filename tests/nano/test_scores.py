"""The caption scores, against examples worked out by hand."""
import math

import numpy as np
import pytest

from models.nano.scores import CiderD, bleu4, bootstrap_interval, words

REFERENCES = [["A dog runs."], ["A cat sits."]]


def test_words_ignore_case_and_punctuation():
    assert words("A man's dog, two cats!") == ["a", "man", "s", "dog", "two", "cats"]


def test_cider_d_of_the_reference_itself_has_every_n_but_the_fourth():
    # three words hold no 4-gram, so 3 of the 4 cosines are 1; "a" is in both pictures: weight 0
    assert CiderD(REFERENCES).score(["A dog runs.", "A dog runs."]) == pytest.approx([7.5, 0.0])


def test_cider_d_clips_repeated_words_and_punishes_length():
    # n=1: dog 2L clipped to L, runs L against dog L, runs L: 2 / (sqrt 5 * sqrt 2)
    # n=2: two of three pairs match two: 2 / (sqrt 3 * sqrt 2); n=3: 1 / sqrt 2; n=4: none
    cosines = 2 / math.sqrt(10) + 2 / math.sqrt(6) + 1 / math.sqrt(2)
    expected = 10 / 4 * math.exp(-1 / 72) * cosines
    assert CiderD(REFERENCES).score(["a dog runs dog", "x"])[0] == pytest.approx(expected)


def test_cider_d_is_the_mean_over_the_references_of_a_picture():
    references = [["A dog runs.", "Snow falls here."], ["A cat sits."]]
    assert CiderD(references).score(["A dog runs.", ""])[0] == pytest.approx(7.5 / 2)


def test_document_frequency_counts_pictures_not_captions():
    repeated = [["a dog", "a dog", "a dog"], ["a cat"], ["a cow"]]
    scorer = CiderD(repeated)
    assert scorer.frequency[("dog",)] == 1
    assert scorer.frequency[("a",)] == 3


def test_bleu4_by_hand():
    # precisions 4/5, 3/4, 2/3, 1/2; five words against six: brevity exp(1 - 6/5)
    score = bleu4(["a b c d e"], [["a b c d f g"]])
    assert score == pytest.approx(math.exp(-0.2) * 0.2**0.25)


def test_bleu4_counts_over_the_whole_corpus_with_the_closest_reference():
    references = [["a b c d", "z z z z z z z z z"], ["e f g h"]]
    assert bleu4(["a b c d", "e f g h"], references) == pytest.approx(1.0)
    # the second sentence misses everywhere: precisions 4/8, 3/6, 2/4, 1/2
    assert bleu4(["a b c d", "q r s t"], references) == pytest.approx(0.5)


def test_bleu4_clips_to_the_most_frequent_reference_and_ties_take_the_shorter():
    assert bleu4(["the the the the the"], [["the cat the mat"]]) == 0.0
    # five words, references of four and six: four is taken, no penalty
    score = bleu4(["a b c d e"], [["a b c d", "a b c d e f"]])
    assert score == pytest.approx(1.0)


def test_bleu4_without_a_matching_fourgram_is_zero():
    assert bleu4(["a b c"], [["a b c"]]) == 0.0


def test_bootstrap_interval_holds_the_mean_and_narrows_with_more_pictures():
    rng = np.random.default_rng(1)
    few, many = rng.normal(0.3, 1.0, 50), rng.normal(0.3, 1.0, 5000)
    low, high = bootstrap_interval(many)
    assert low < many.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * many.std() / math.sqrt(5000), rel=0.1)
    assert np.diff(bootstrap_interval(few))[0] > 5 * (high - low)


def test_bootstrap_of_equal_differences_is_a_point():
    assert bootstrap_interval(np.full(10, 0.25)) == (0.25, 0.25)
