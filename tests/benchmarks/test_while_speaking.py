"""What an answer notices while it is given, and what notes are worth: how both are measured."""
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks import noting, while_speaking
from benchmarks.looks import Looks
from benchmarks.while_speaking import (
    BEFORE,
    MODES,
    VIEWS,
    Marks,
    Said,
    Stage,
    draw_pairs,
    fluency,
    judged,
    mean_logp,
)
from models.nano.data import Picture
from models.nano.questions import WORD_GROUP, things_in
from streamassist.branch import Turn
from streamassist.thinking.streaming_notes import StreamingNotes
from streamassist.types import Role
from tests import tiny_nano

ANIMALS = ("dog", "cat", "horse", "elephant", "zebra", "cow", "bird", "giraffe")


def pictures(count: int = 8) -> list[Picture]:
    """Each of one animal, in a field."""
    return [
        Picture(f"{animal}.jpg", "a.tar", "test", "human", (f"A {animal} runs in a field.",) * 5)
        for animal in ANIMALS[:count]
    ]


@pytest.fixture(scope="module")
def model():
    """It never stops by itself: a stop of a random model is no stop."""
    nano = tiny_nano.build()[0]
    nano.stop_ids = frozenset()
    return nano


@pytest.fixture
def endless(monkeypatch) -> None:
    """Nor when it goes in circles."""
    monkeypatch.setattr(Turn, "looping", False)


def looks_of(model, _: Sequence[Picture], files: set[str]) -> Looks:
    """Every file VIEWS pictures of noise; nothing is written."""
    seeds = {file: 10 * i for i, file in enumerate(sorted(files))}
    looks = Looks(model, lambda f: [tiny_nano.picture(seeds[f] + v) for v in range(VIEWS)],
                  while_speaking.cache_dir())
    looks.prepare(files, lambda _: False)
    return looks


@pytest.fixture(scope="module")
def looks(model) -> Looks:
    return looks_of(model, (), {p.file for p in pictures()})


def shots(old: str = "dog.jpg", new: str = "cat.jpg"):
    return [*[(old, i % VIEWS) for i in range(BEFORE)], *[(new, i % VIEWS) for i in range(24)]]


# ---------------------------------------------------------------- pairs

def test_pairs_show_things_that_can_be_told_apart():
    pairs = draw_pairs(pictures(), 7)
    assert pairs == draw_pairs(pictures(), 7)
    assert [pair.words for pair in pairs] == [1, 2, 3, 1, 2, 3, 1]
    for pair in pairs:
        old, new = (WORD_GROUP[file.removesuffix(".jpg")] for file in (pair.old, pair.new))
        assert (pair.only_old, pair.only_new) == ({old}, {new})   # the field is in both
        assert things_in([pair.captions[0]]) == {old, WORD_GROUP["field"]}


# ---------------------------------------------------------------- one answer

@pytest.mark.parametrize("mode", MODES)
def test_frames_come_after_so_many_words_unless_held_back(model, looks, mode, endless):
    stage = Stage(model, looks, shots(), MODES[mode])
    size = stage.engine.cache.size
    answer = stage.answer(2, held=mode == "stop", captions=("A dog runs.", "A cat runs."))
    assert len(answer.ids) == while_speaking.LONGEST
    whole, first = (model.detokenize(ids) for ids in (answer.ids, answer.ids[:2]))
    assert answer.after == whole[len(first) :]
    came = 0 if mode == "stop" else 3   # after 2, 10 and 18 of 24 tokens
    assert stage.shown == BEFORE + came
    assert stage.engine.cache.size == size + came * 16   # the branch is gone


def test_the_words_before_the_change_are_the_same_and_those_after_it_differ(model, looks):
    said = {mode: Stage(model, looks, shots(), MODES[mode]).answer(3, held=mode == "stop").ids
            for mode in ("follow", "overlap", "stop")}
    assert said["follow"][:3] == said["overlap"][:3] == said["stop"][:3]
    assert said["follow"] != said["stop"] != said["overlap"]


def test_likelihoods_are_those_of_a_plain_pass_and_leave_no_trace(model, looks):
    stage = Stage(model, looks, shots(), MODES["follow"])
    cache, ids = stage.engine.cache, model.encode_text(" dog runs")
    before = model.question_ids("what do you see?")
    size, position = cache.size, cache.next_position
    told = mean_logp(model, cache, before, ids)
    assert (cache.size, cache.next_position) == (size, position)
    sums = []
    for i in range(len(ids)):
        chunk = model.text_chunk([*before, *ids[:i]], position, Role.BRANCH, 0.0)
        sums.append(float(model.forward(chunk, cache).log_softmax(-1)[ids[i]]))
        cache.truncate(size)
    assert told == pytest.approx(np.mean(sums), abs=1e-4)


def test_what_is_likely_next_does_not_change_what_is_said(model, looks):
    for mode in ("follow", "gap 64", "group"):
        with_captions, without = (
            Stage(model, looks, shots(), MODES[mode]).answer(2, False, captions)
            for captions in (("A dog runs.", "A cat."), ())
        )
        assert with_captions.ids == without.ids
        assert len(with_captions.likely) == 2 and without.likely is None


def test_fluency_is_read_in_plain_order_whatever_the_mode(model, looks):
    pair = draw_pairs(pictures(), 1)[0]
    same = Said("", model.encode_text("a dog"))
    other = Said("", model.encode_text("zzzz"))
    told = fluency(model, looks, pair, {"follow": same, "group": same, "stop": other})
    assert told["follow"] == told["group"] != told["stop"]


def test_every_mode_is_tried_on_every_pair_the_first_also_undisturbed(model, looks):
    pairs = draw_pairs(pictures(), 3)
    marks = while_speaking.try_pairs(model, looks, pairs, ("follow", "gap 64", "stop"), 2)
    assert list(marks) == ["follow", "gap 64", "stop"]
    for mark in marks.values():
        assert (len(mark.new), len(mark.likely), len(mark.fluency)) == (3, 3, 2)
    held = np.array(marks["stop"].likely)
    assert not np.allclose(held, np.array(marks["follow"].likely))


# ---------------------------------------------------------------- the verdict

def marked(new: Sequence[int], old: Sequence[int] | None = None) -> Marks:
    old = [0] * len(new) if old is None else old
    return Marks([*map(bool, new)], [*map(bool, old)], [(-3.0, -2.0)] * len(new), [-1.0])


def test_a_hit_names_the_new_thing_and_not_the_old_one():
    assert marked([1, 1, 0, 0], [0, 1, 1, 0]).hits.tolist() == [1, 0, 0, 0]


def test_the_default_must_beat_holding_frames_back_and_lose_to_none():
    most, half, none = [1] * 18 + [0] * 2, [1, 0] * 10, [0] * 20
    _, numbers, ok = judged({"follow": marked(most), "group": marked(none), "stop": marked(none)})
    assert ok and [row["new"] for row in numbers["rows"]] == [0.9, 0.0, 0.0]
    figure, _, ok = judged({"follow": marked(half), "gap 64": marked(most), "stop": marked(none)})
    assert not ok and "better than follow: gap 64" in figure
    figure, _, ok = judged({"follow": marked(half), "group": marked(none), "stop": marked(half)})
    assert not ok and "not better than held back: follow, group" in figure


def test_a_difference_by_chance_is_no_difference():
    one, other = np.array([1.0, 0, 0, 1, 0, 1]), np.array([1.0, 1, 0, 1, 0, 0])
    low, high = while_speaking.apart(one, other)
    assert low < 0 < high
    assert while_speaking.apart(np.ones(5), np.zeros(5)) == (1.0, 1.0)


# ---------------------------------------------------------------- notes

def test_stories_ask_for_what_was_and_was_not_shown():
    for story in noting.draw_stories(pictures(), 5):
        shown = [WORD_GROUP[file.removesuffix(".jpg")] for file in story.files]
        (yes,), (no,) = (
            things_in([story.asked[kind][0]]) for kind in ("appeared", "did not")
        )
        assert yes in shown[:3] and no not in shown
        for kind, at in (("before", -2), ("first", 0)):
            ((names,),) = (story.asked[kind][1],)
            assert {WORD_GROUP[name] for name in names} == {shown[at]}


def test_a_story_is_noted_picture_by_picture(model, looks, monkeypatch):
    story, clips = noting.draw_stories(pictures(), 1)[0], []
    take = StreamingNotes.take
    monkeypatch.setattr(
        StreamingNotes, "take", lambda *args: clips.append(args[2:4]) or take(*args)
    )
    noting.watched(model, looks, story, "full", "streaming_notes:longest=3")
    assert clips == [(0.0, 8.0), (8.0, 16.0), (16.0, 24.0), (24.0, 32.0), (32.0, 40.0)]
    assert noting.watched(model, looks, story, "full", "none").thinking.notes == []


def test_answers_are_right_by_their_words(model, looks, monkeypatch):
    story = noting.Story(("dog.jpg",), {
        "appeared": ("Did a dog appear earlier?", [["yes"]]), "did not": ("Did a cat?", []),
    })
    engine = noting.watched(model, looks, noting.draw_stories(pictures(), 1)[0], "full", "none")
    for said, right in (("Yes.", [True, False]), ("I did not see that.", [False, True])):
        monkeypatch.setattr(noting, "finish", lambda e, said=said: e.close() or said)
        assert [mark for _, mark in noting.answers(engine, story)] == right


def test_every_memory_is_asked_with_every_kind_of_notes(model):
    rows = noting.compare(model, pictures(), 2, looks_of)
    assert [(row["memory"], row["thinking"]) for row in rows] == [
        (memory, thinking) for memory in noting.MEMORIES
        for thinking in ("none", "streaming_notes", "segment_notes")
    ]
    for row in rows:
        assert row["questions"] == 8
        assert row["right"] == pytest.approx(np.mean([row[kind] for kind in noting.KINDS]))
    first = f"recall: none {rows[0]['right']:.0%}, streaming_notes {rows[1]['right']:.0%}, "
    assert first in noting.figure_of(rows)


def test_without_the_pictures_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(while_speaking, "DATA", tmp_path / "none")
    assert while_speaking.main(while_speaking.parser(), while_speaking.measure, ["--json"]) == 2
