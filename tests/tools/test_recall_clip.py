"""Recall a clip: the pictures around a moment."""
from dataclasses import replace

import pytest

from desk import GREEN, RED, Desk
from helping import look
from streamassist.config import Config
from streamassist.tools.recall_clip import MOST_PICTURES, RecallClip, around
from streamassist.tools.search_memory import NOTHING
from streamassist.types import Forget

TOOL = RecallClip()


def watched() -> Desk:
    """Two minutes of red, with green at 50 s."""
    desk = Desk(config=Config(memory="recall:budget=16,recent=2", response="on_query"))
    colours = [RED] * 240
    colours[100] = GREEN
    desk.watch(*colours, talk=False)
    return desk


@pytest.mark.parametrize(
    "question, wanted",
    [
        ("Show me when the dog came", True),
        ("Please play it again", True),
        ("Replay the last minute", True),
        ("Is there a clip of it?", True),
        ("Are the children playing?", False),
        ("Who plays the piano?", False),
        ("Show me a dog", False),
    ],
)
def test_words_that_want_it(question, wanted):
    assert TOOL.wants(question) is wanted


def test_the_pictures_of_ten_seconds_around_what_was_asked_for():
    found = TOOL.run("Show me when you saw the green picture", look(watched().session))
    assert found.frames == [(i, i / 2) for i in range(90, 111)]
    assert found.did == "recalled a clip" and found.text.endswith("1 minute ago, 21 pictures")


def test_a_time_that_is_named_needs_no_search():
    found = TOOL.run("Play what happened 30 seconds ago", look(watched().session))
    assert [pts for _, pts in found.frames] == [84.5 + i / 2 for i in range(21)]


def test_nothing_is_brought_back_of_what_was_not_seen_or_is_forgotten():
    desk = watched()
    never = TOOL.run("Show me when you saw the grey picture", look(desk.session))
    assert (never.did, never.text, never.frames) == ("looked for a clip", NOTHING, [])
    desk.submit(Forget(minutes=1))
    gone = TOOL.run("Play what happened 30 seconds ago", look(desk.session))
    assert not gone.frames


def test_many_pictures_are_spread():
    fast = [(i, i / 30) for i in range(1000)]
    held = replace(
        look(watched().session), pictures=lambda since: [seen for seen in fast if seen[1] >= since]
    )
    shown = around(15.0, held)
    assert len(shown) <= MOST_PICTURES and shown[0] == (300, 10.0) and shown[-1][1] > 19.5
