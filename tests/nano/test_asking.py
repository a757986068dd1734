"""Questions made from captions: right as far as the captions are, and none about what they lack."""
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.accept import is_right
from models.nano import asking
from models.nano.data import load_pictures
from models.nano.questions import GROUPS, YesNoMaker, things_in, words_of

DOG = (
    "A brown dog is running on the beach with a red ball in its mouth.",
    "A dog runs across the sand.",
    "The dog carries a ball.",
)
STREET = (
    "Two women in red dresses are walking down the street.",
    "A man wearing a blue shirt is holding an umbrella.",
)


def asked(captions: tuple[str, ...]) -> dict[str, str]:
    return {fact.question: fact.answer for fact in asking.facts_of(captions)}


def test_a_caption_tells_what_who_where_and_which_colour():
    found = asked(DOG)
    assert found["What colour is the dog?"] == "Brown."
    assert found["What colour is the ball?"] == "Red."
    assert found["What is the dog doing?"].startswith("Running on the beach")
    assert found["What does the dog have in its mouth?"] == "A red ball."
    assert found["Where is the dog?"] == "On the beach."
    assert found["Who is there?"] == "A brown dog."
    assert found["What animal do you see?"] == "A dog."
    assert found["Is it indoors or outdoors?"] == "Outdoors."


def test_people_are_counted_and_their_clothes_told():
    found = asked(STREET)
    assert found["How many women are there?"] == "Two."
    assert found["What is the man wearing?"] == "A blue shirt."
    assert found["What is the man holding?"] == "An umbrella."
    assert found["What are the women doing?"] == "Walking down the street."


def test_other_captions_add_what_else_is_right():
    (where,) = [f for f in asking.facts_of(DOG) if f.question == "Where is the dog?"]
    assert where.keys == {"beach", "sand"}


def test_one_person_is_counted_only_when_every_caption_names_one():
    one = ("A man sits.", "The man rests.", "A guy on a bench.")
    assert asked(one)["How many people are there?"] == "One."
    assert "How many people are there?" not in asked((*one, "A man and a woman sit."))


@pytest.mark.shared
@pytest.mark.usefixtures("shared_data")
def test_its_own_answer_is_always_right():
    pictures = [p for p in load_pictures() if p.kind == "human"][::40]
    weights = YesNoMaker([p.captions for p in pictures]).weights
    rng, facts = random.Random(0), []
    for picture in pictures:
        facts += asking.facts_of(picture.captions)
        facts.append(asking.absent_fact(picture.captions, rng, weights))
    wrong = [f for f in facts if not is_right(f.answer, [sorted(f.keys)])]
    assert len(facts) > 800 and not wrong


@given(st.integers(0, 10_000))
def test_what_is_asked_in_vain_is_named_by_no_caption(seed):
    fact = asking.absent_fact(DOG, random.Random(seed), [1.0] * len(GROUPS))
    assert not things_in([fact.question]) & things_in(DOG)
    assert is_right(fact.answer, [["not"]])


@given(st.integers(0, 10_000))
def test_of_several_things_one_is_there(seed):
    fact = asking.choice_fact(DOG, random.Random(seed), [1.0] * len(GROUPS))
    named = things_in([fact.question])
    assert len(named & things_in(DOG)) == 1 and len(named) >= 2
    assert set(words_of(fact.answer)) & fact.keys


@given(st.integers(0, 10_000))
def test_another_wording_asks_the_same(seed):
    rng = random.Random(seed)
    one = asking.reworded("What is the man doing?", rng)
    assert one in {f"What is {who} doing?" for who in ("the man", "the person", "he")}
    many = asking.reworded("Where are the girls?", rng)
    assert many in {f"Where are {who}?" for who in ("the girls", "the people", "they")}
    assert asking.reworded("What colour is the dog?", rng) == "What colour is the dog?"


@given(st.text(max_size=80))
def test_no_text_breaks_the_rules(text):
    for fact in asking.facts_of([text]):
        assert fact.question.endswith("?") and fact.answer.endswith(".") and fact.keys
