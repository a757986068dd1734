"""Needles in a stream: what is shown and asked, and a policy that is asked."""
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks import needles
from benchmarks.looks import Looks, Watching
from benchmarks.memory import Examiner, run_stream
from benchmarks.needle_table import credit
from benchmarks.needles import (
    PAST_S,
    SHOWN_S,
    Ask,
    Material,
    Needle,
    Photo,
    Stream,
    build_streams,
    name_of,
    photo_of,
)
from models.fake import FakeLLM
from models.nano.questions import GROUPS, WORD_GROUP
from streamassist.config import EngineConfig
from streamassist.engine import Engine
from streamassist.memory import METHODS
from streamassist.types import Frame

PERSON, DOG, HORSE = WORD_GROUP["person"], WORD_GROUP["dog"], WORD_GROUP["horse"]
FPS = 2.0


def photo(number: int, *more: int) -> Photo:
    return Photo(f"{number}.jpg", frozenset({number, *more}), frozenset({number}))


@pytest.fixture(scope="module")
def material() -> Material:
    """Sixty things, each in a photo of its own; every third photo shows its neighbour as well."""
    photos = [photo(t, *([t + 1] if t % 3 == 0 else [])) for t in range(1, 61)]
    return Material({"a": 7.3, "b": 20.0}, frozenset({PERSON}), tuple(photos))


@pytest.fixture(scope="module")
def streams(material: Material) -> list[Stream]:
    return build_streams(material, 2, 1200.0, FPS, 10_000)


# ---------------------------------------------------------------- streams

def test_a_needle_is_on_screen_for_its_two_seconds_and_nothing_else_of_it_is(streams):
    for stream in streams:
        shown = Counter(source for source, _ in stream.shots if source.endswith(".jpg"))
        assert shown == {n.file: SHOWN_S * FPS for n in stream.needles}
        for n in stream.needles:
            assert stream.shots[int(n.start * FPS)][0] == stream.shots[int(n.end * FPS) - 1][0] \
                == n.file
        assert len(stream.shots) == 1200 * FPS


def test_no_thing_is_shown_by_two_needles_nor_by_the_clips(streams, material):
    for stream in streams:
        for one in stream.needles:
            assert one.thing not in material.common
            others = [n for n in stream.needles if n is not one]
            assert not any(one.thing in other.shows for other in others)


def test_the_age_is_the_time_since_the_last_frame_and_wrong_things_were_never_seen(streams):
    for stream in streams:
        assert [a.tick for a in stream.asks] == sorted(a.tick for a in stream.asks)
        for ask in stream.asks:
            last = max(i for i, (source, _) in enumerate(stream.shots)
                       if source == ask.needle.file)
            assert (ask.tick - last) / FPS == ask.age
            seen = {n.file for n in stream.needles} & {s for s, _ in stream.shots[: ask.tick + 1]}
            names = {name_of(t) for n in stream.needles if n.file in seen for t in n.shows}
            assert not names & set(ask.others) and len(set(ask.others)) == 3


def test_every_age_is_asked_and_a_thing_is_right_about_as_often_as_wrong(streams):
    asks = [a for s in streams for a in s.asks]
    ages = Counter(a.age for a in asks)
    assert set(ages) == {0.0, 3.0, *PAST_S} and ages[1000.0] >= 20
    right, wrong = Counter(a.thing for a in asks), Counter(a.others[0] for a in asks)
    surplus = [right[t] - wrong[t] for t in right | wrong]
    assert sum(abs(s) for s in surplus) / len(surplus) < 4


def test_the_same_streams_again_other_ones_with_another_seed(material, streams):
    assert build_streams(material, 2, 1200.0, FPS, 10_000) == streams
    assert build_streams(material, 2, 1200.0, FPS, 10_000, seed=1) != streams
    assert {n.thing for n in streams[0].needles} != {n.thing for n in streams[1].needles}


def test_at_most_as_many_questions_as_wanted_and_evenly_by_age(material):
    asks = [a for s in build_streams(material, 2, 1200.0, FPS, 50) for a in s.asks]
    ages = Counter(a.age if a.past else 0.0 for a in asks)
    assert len(asks) == 50 and set(ages.values()) == {10}


def test_a_stream_too_short_for_the_oldest_question_asks_the_others(material):
    (stream,) = build_streams(material, 1, 40.0, 1.0, 5)
    assert len(stream.asks) == 5 and {a.age for a in stream.asks} <= {0.0, 3.0, 10.0}


def test_a_photo_is_of_what_most_captions_name():
    one = photo_of("x", ["A dog runs.", "A puppy and a horse.", "A dog with a man."])
    assert one.main == {DOG} and one.shows == {DOG, HORSE, PERSON}
    assert photo_of("x", ["A kitchen.", "A kitchen."]).main == frozenset(), "a place is no thing"


def test_the_words_of_a_question_fit_its_age():
    ask = ask_at(10.0)
    assert ask.about("a dog") == "Did a dog appear earlier?"
    assert ask.which() == "Which of these appeared earlier: a cat, a dog, a horse or a cow?"
    assert ask_at(0.0).about("a dog") == "Is there a dog now?"
    assert ask_at(3.0).which().startswith("Which of these was there just now: ")


def ask_at(age: float, tick: int = 5, start: float = 1.0) -> Ask:
    needle = Needle(0, DOG, "dog.jpg", frozenset({DOG}), start)
    return Ask(needle, age, tick, ("a cat", "a horse", "a cow"))


@pytest.mark.shared
def test_the_shared_data_gives_three_hundred_questions(shared_data):
    real = needles.load_material(shared_data / "videos", "test")
    asks = [a for s in build_streams(real, 2, 1200.0, FPS, 10_000) for a in s.asks]
    assert len(asks) >= 300 and all(len(a.others) == 3 for a in asks)
    assert "stream_home" not in real.clips and not {PERSON, DOG} - real.common


# ---------------------------------------------------------------- features

def grey(level: int) -> np.ndarray:
    return np.full((8, 8, 3), level, np.uint8)


PICTURES = {"a": [grey(40), grey(60)], "b": [grey(200)]}


def test_features_are_computed_once_and_what_a_policy_changes_stays_its_own(tmp_path):
    read, model = [], FakeLLM()
    frame = needles_frame(7)
    for _ in range(2):
        looks = Looks(model, lambda s: read.append(s) or PICTURES[s], tmp_path)
        looks.prepare(["b", "a", "b", "a"], lambda s: s == "a")
        tokens = looks.tokens("a", 9, frame)   # behind its end a clip stands still
        assert torch.equal(tokens.embeds, model.encode([replace(frame, image=grey(60))])[0].embeds)
        assert (tokens.pts, tokens.frame, tokens.grid) == (3.5, 7, (1, 2, 2))
        tokens.embeds.zero_()
        assert looks.tokens("a", 1, frame).embeds.any()
    assert read == ["a", "b", "b"], "a from its file the second time"


def needles_frame(index: int):
    return Frame(grey(0), index / FPS, index)


def test_frames_that_carry_their_time_are_encoded_when_shown(tmp_path):
    class Stamped(FakeLLM):
        def encode(self, frames):
            return [replace(t, before=(int(t.pts),)) for t in super().encode(frames)]

    looks = Looks(Stamped(), PICTURES.get, tmp_path)
    looks.prepare(["a"], lambda s: True)
    assert looks.tokens("a", 0, needles_frame(8)).before == (4,)
    assert list(tmp_path.rglob("*.safetensors")) == []


# ---------------------------------------------------------------- a policy on a stream

COLOURS = {DOG: "red", HORSE: "green", WORD_GROUP["cat"]: "blue", WORD_GROUP["cow"]: "dark"}


@pytest.fixture
def coloured(monkeypatch, tmp_path):
    """A stream in words the scripted model knows: grey, but for a red picture from 2 to 4 s."""
    monkeypatch.setattr(needles, "name_of", COLOURS.get)
    needle = Needle(0, DOG, "red", frozenset({DOG}), 2.0)
    shots = [("a", 0)] * 4 + [("red", 0)] * 4 + [("a", 0)] * 22
    others = ("green", "blue", "dark")
    asks = [Ask(needle, 0.0, 7, others), Ask(needle, 10.0, 27, others)]
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 220
    looks = Looks(FakeLLM(), {"a": [grey(150)], "red": [red]}.get, tmp_path)
    looks.prepare(["a", "red"], lambda s: False)
    return looks, Stream(shots, [needle], asks)


def test_what_is_on_screen_is_told_and_what_is_gone_is_not(coloured):
    looks, stream = coloured
    model = FakeLLM(frames_at_once=1)   # is asked whether the thing is there, not a question
    row = run_stream(model, looks, stream, "last_n:frames=4", FPS, EngineConfig())
    now, past = row["answers"]
    assert (now["thing"], now["age"], past["age"]) == ("red", 0.0, 10.0)
    assert credit(now) == 1.0 and credit(past) < 0.1
    assert row["tokens"] == 16 and row["cache_bytes"] > 0 and row["ram_bytes"] == 0
    assert now["evidence"] == [] and now["denied"] == [False, False]


def test_a_policy_is_asked_on_the_cache_it_gives_and_is_left_as_it_was(coloured):
    """A policy that shows the red frame again answers about the past."""
    looks, stream = coloured

    class Shows(METHODS["last_n"]):
        asked, ended = [], 0

        def before_answer(self, cache, question):
            self.asked.append(question)
            answer = cache.opening()
            red = cache.copy_out((cache.used().frame == 7).nonzero()[:, 0])
            answer.insert(red)
            return answer

        def after_answer(self, cache):
            Shows.ended += 1

        def evidence(self):
            return [(7, 1.0), (2, 0.5)]

        def supported(self):
            return "red" in self.asked[-1]

    model = FakeLLM(frames_at_once=1)
    engine = Engine(Watching(model, looks, stream.shots), Shows(frames=40), EngineConfig())
    for tick in range(28):
        engine.observe(Frame(grey(0), tick / FPS, tick))
    size = engine.cache.size
    answer = Examiner(engine, FPS).put(stream.asks[1], 13.5)
    assert answer["evidence"] == [True, False] and answer["denied"] == [False, True]
    assert credit(answer) == 1.0 and answer["answer_tokens"] == 4
    assert engine.cache.size == size and engine.turn is None
    assert Shows.ended == len(Shows.asked) == 3, "two things and the choice"


def test_with_a_real_text_model_there_is_a_choice_of_four(tmp_path):
    from tests.tiny_nano import build, picture

    model = build()[0]
    looks = Looks(model, lambda s: [picture(3)], tmp_path)
    looks.prepare(["dog.jpg"], lambda s: False)
    stream = Stream([("dog.jpg", 0)] * 6, [], [ask_at(0.0)])
    row = run_stream(model, looks, stream, "last_n:frames=2", FPS, EngineConfig())
    again = run_stream(model, looks, stream, "last_n:frames=2", FPS, EngineConfig())
    (answer,) = row["answers"]
    assert len(answer["choice"]) == 4 and len(set(answer["choice"])) == 4
    assert answer["choice"] == again["answers"][0]["choice"]
    assert answer["pair"] == again["answers"][0]["pair"]
    assert answer["answer_tokens"] == 2 * model.tokens_per_frame


def test_names_have_articles():
    assert name_of(DOG) == "a dog" and name_of(WORD_GROUP["elephant"]) == "an elephant"
    assert GROUPS[DOG][0] == "dog"
