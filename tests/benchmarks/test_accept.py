"""When an answer counts as right."""
import pytest

from benchmarks.accept import COMMON_NOUNS, MOST_WORDS, is_right


@pytest.mark.parametrize("answer, accept, right", [
    ("A dog.", [["dog", "poodle"]], True),
    ("Cutting slices of bread.", [["slic"]], True),
    ("A hotdog stand.", [["dog"]], False),
    ("A red car.", [["red"], ["car", "van"]], True),
    ("A red bus.", [["red"], ["car", "van"]], False),
    ("There is no dog.", [["dog"]], False),
    ("I don't see a dog.", [["dog"]], False),
    ("I don\u2019t see a dog.", [["dog"]], False),
    ("There is no cat. It is a dog.", [["dog"]], True),
    ("No, nothing is happening.", [["no", "nothing"]], True),
    ("Now it snows.", [["no", "nothing"]], False),
    ("About 15 cars.", [["one", "1"]], False),
    ("Exactly 1.", [["one", "1"]], True),
    ("", [["dog"]], False),
    ("Anything.", [], False),
])
def test_is_right(answer, accept, right):
    assert is_right(answer, accept) is right


def test_words_behind_the_fifteenth_do_not_count():
    filler = " ".join(["well"] * (MOST_WORDS - 1))
    assert is_right(f"{filler} dog", [["dog"]])
    assert not is_right(f"{filler} well dog", [["dog"]])


def test_the_fixed_answer_has_fifteen_words_and_is_not_cut():
    words = COMMON_NOUNS.split()
    assert len(words) == len(set(words)) == MOST_WORDS
    assert is_right(COMMON_NOUNS, [[words[-1]]])
