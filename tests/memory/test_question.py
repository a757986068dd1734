"""What the words of a question tell: a time, things, what counts."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamassist.memory.question import content_words, things_in, when

NOW = 100.0


@pytest.mark.parametrize(("question", "past", "at"), [
    ("What is happening now?", False, None),
    ("Is there a dog?", False, None),
    ("Was there a dog just now?", True, 98.0),
    ("What do you see?", False, None),
    ("Do you remember the cup?", True, None),
    ("What colour is the cup?", False, None),
    ("What did you see?", True, None),
    ("Was there a dog?", True, None),
    ("Has a car been here?", True, None),
    ("What has he got?", None, None),        # the words do not tell: the model decides
    ("What happened 20 seconds ago?", True, 80.0),
    ("Who came in a minute ago?", True, 40.0),
    ("What was it half a minute earlier?", True, 70.0),
    ("What was on the table at 1:05?", True, 65.0),
    ("Two hours ago?", True, 0.0),
    ("What was there at the beginning?", True, 0.0),
    ("Describe the picture.", None, None),
])
def test_the_time_a_question_asks_about(question, past, at):
    asked = when(question, NOW)
    assert (asked.past, asked.at) == (past, at)


@pytest.mark.parametrize(("question", "things"), [
    ("Did a dog appear earlier?", ["a dog"]),
    ("Was there a red car just now?", ["a red car"]),
    ("Which of these appeared earlier: a dog, an apple or the old man?",
     ["a dog", "an apple", "an old man"]),
    ("What was on the table 10 seconds ago?", ["a table"]),
    ("What happened?", []),
])
def test_the_things_a_question_asks_about(question, things):
    assert things_in(question) == things


@given(st.text(alphabet="a the my -_'5.x\u00e9 dog,or", max_size=60))
def test_a_thing_always_has_words_that_count(question):
    assert all(content_words(thing) for thing in things_in(question))


def test_words_that_count():
    assert content_words("Did you see my red cup 5 minutes ago?") == ["red", "cup"]


def test_a_moment_is_no_minute():
    assert when("What was there a moment ago?", 500.0) == when("What was there just now?", 500.0)
    assert when("What was there a minute ago?", 500.0).at == 440.0
    assert when("What was there five months ago?", 500.0).at is None
