"""Watch rules: what they mean, when they fire, what is refused."""
import pytest

from streamassist.errors import StreamAssistError
from streamassist.rules import MAX_RULES, Rule, RuleBook, condition_of, is_rule


@pytest.mark.parametrize("text, condition", [
    ("Tell me when a dog appears.", "A dog appears"),
    ("please let me know if the kettle boils", "The kettle boils"),
    ("Alert me as soon as somebody is at the door!", "Somebody is at the door"),
    ("Watch out for a red car", "There is a red car"),
    ("when you see a cat", "There is a cat"),
    ("A man waves", "A man waves"),
    ("Could you tell me once the lights go off?", "The lights go off"),
])
def test_condition(text, condition):
    assert condition_of(text) == condition


@pytest.mark.parametrize("text, rule", [
    ("Tell me when a dog appears", True),
    ("What is the dog doing?", False),
    ("Tell me what you see", False),
    ("When did the man leave?", False),
])
def test_which_questions_are_rules(text, rule):
    assert is_rule(text) is rule


def test_fires_at_once_and_again_only_after_it_was_false():
    rule = Rule(1, "Tell me when a dog appears", 0.0)
    scores = [0.9, 0.9, 0.9, 0.1, 0.9, 0.1] + [0.1] * 20 + [0.9]
    fired = [rule.check(score, i / 2) for i, score in enumerate(scores)]
    assert [i for i, f in enumerate(fired) if f] == [0, 26]   # frame 4 is within the cooldown
    assert rule.fired == 2 and rule.last_checked == 13.0


def test_dwell_in_seconds():
    rule = Rule(1, "A dog appears", 0.0, dwell_s=1.0)
    fired = [rule.check(s, i / 2) for i, s in enumerate([0.9, 0.9, 0.1, 0.9, 0.9, 0.9])]
    assert fired == [False, False, False, False, False, True]


def test_rules_take_turns():
    book, asked = RuleBook(per_frame=2), []
    for i in range(5):
        book.add(f"thing {i} appears", 0.0)
    for frame in range(5):
        book.check(frame / 2, lambda s: asked.append(s) or 0.0)
    assert len(asked) == 10 and {asked.count(s) for s in asked} == {2}


@pytest.mark.parametrize("text", ["", "   ", "Tell me when  ", "word " * 61, "x" * 10_000])
def test_absurd_rules_are_refused_in_a_sentence(text):
    with pytest.raises(StreamAssistError, match="rule"):
        RuleBook().add(text, 0.0)


def test_there_is_a_limit_and_removal():
    book = RuleBook()
    rules = [book.add(f"thing {i}", 0.0) for i in range(MAX_RULES)]
    with pytest.raises(StreamAssistError, match="remove one"):
        book.add("one more", 0.0)
    book.remove(rules[0].id)
    assert book.add("one more", 0.0).id == MAX_RULES + 1
    with pytest.raises(StreamAssistError, match="no rule"):
        book.remove(rules[0].id)
