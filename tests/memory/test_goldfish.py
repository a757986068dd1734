"""Descriptions as memory: what is described, what is chosen, and what an answer reads."""
import torch

from made_up import MadeUpModel, append, pinned_cache, watch
from streamassist.memory import METHODS
from streamassist.types import Role

SAID = {0: "a dog", 1: "a boat", 2: "a red cat"}   # of each clip of 10 frames at 2 fps


class Teller(MadeUpModel):
    """Describes the clip of the frames it was just shown, letter by letter; embeds a letter as an
    axis, so that texts of the same letters are alike."""

    def __init__(self):
        super().__init__()
        self.shown, self.left = [], []

    def forward(self, chunk, cache):
        super().forward(chunk, cache)
        if chunk.visual is not None:
            self.shown.append(chunk.frame)
            self.left = []
        elif chunk.role == Role.BRANCH:
            if not self.left:
                text = SAID.get(self.shown[-1] // 10, "x")
                self.left = [*text.encode(), 7]
            return torch.eye(256)[self.left.pop(0)]
        return torch.zeros(256)

    def embed_text(self, ids):
        return torch.eye(256)[torch.tensor(ids) % 256]


def stream(frames: int, **settings):
    policy = METHODS["goldfish"](**{"budget": 100, "clip_s": 5.0, "frames": 4, "best": 1,
                                    "longest": 24, **settings})
    policy.attach(Teller())
    cache = pinned_cache()
    for frame in range(frames):
        watch(policy, cache, frame)
    return policy, cache


def texts(policy) -> list[str]:
    return [bytes(note.ids).decode() for note in policy._notes]


def test_each_clip_is_described_with_its_time_once_it_is_over():
    policy, _ = stream(31)
    assert texts(policy) == [
        "At 0:00:00: a dog\n", "At 0:00:05: a boat\n", "At 0:00:10: a red cat\n"
    ]
    assert [(note.start, note.end) for note in policy._notes] == [(0, 4.5), (5, 9.5), (10, 14.5)]


def test_frames_described_are_spread_over_the_clip():
    policy, _ = stream(0)
    policy.model.shown.clear()
    cache, seen = pinned_cache(), []
    forward = policy.model.forward
    policy.model.forward = lambda chunk, c: (seen.append(chunk.frame), forward(chunk, c))[1] \
        if c is not cache else forward(chunk, c)
    for frame in range(11):
        watch(policy, cache, frame)
    described = [frame for frame in seen if frame >= 0]
    assert len(described) == 4 and described[0] == 0 and 8 <= described[-1] <= 9
    assert max(b - a for a, b in zip(described, described[1:], strict=False)) <= 4


def test_the_description_most_like_the_question_is_read_before_the_frames():
    policy, cache = stream(60)
    for question, frame in (("a dog", range(10)), ("a boat", range(10, 20))):
        answer = policy.before_answer(cache, question)
        (found, _), = policy.evidence()
        assert found in frame
        roles = answer.used().role[answer.num_pinned :].tolist()
        count = roles.count(Role.TEXT)
        assert count and set(roles[:count]) == {Role.TEXT} and set(roles[count:]) == {Role.VISUAL}
        assert answer.frames()[-len(cache.frames()) :] == cache.frames()
        assert len(answer) <= 100


def test_what_the_frames_still_show_is_not_read_as_text():
    policy, cache = stream(25, budget=200)
    assert len(policy._notes) == 2 and cache.frames()[0] == 0
    assert policy.before_answer(cache, "a dog") is cache and policy.evidence() == []


def test_a_description_is_cut_at_its_most_tokens_and_the_oldest_leave():
    policy, _ = stream(41, longest=14, notes=2)
    assert [len(note.ids) for note in policy._notes] == [14, 14]
    assert policy._notes[0].start == 10.0 and policy.oldest() == 10.0


def test_forgetting_takes_the_descriptions_that_reach_into_it():
    policy, cache = stream(31)
    policy.forget(cache, 9.0)
    assert texts(policy) == ["At 0:00:00: a dog\n"]
    for frame in range(31, 42):
        watch(policy, cache, frame)
    assert policy._notes[-1].start >= 15.5, "the clip forgotten in part is not told of"


def test_its_text_is_read_as_if_it_had_stood_there_all_along():
    """Keys of the description stand where their slots say, right behind the prompt."""
    policy, cache = stream(60)
    answer = policy.before_answer(cache, "a dog")
    slots = answer.used()
    text = slots.role == Role.TEXT
    assert slots.position[0].diff().tolist() == [1] * (len(slots) - 1)
    fresh = pinned_cache()
    note = policy._notes[0]
    append(fresh, policy.model.text_chunk(note.ids, fresh.next_position, Role.TEXT, 0.0),
           seed=sum(note.ids))
    torch.testing.assert_close(answer.raw[:, :, : answer.size][:, :, text],
                               fresh.raw[:, :, 3 : fresh.size])
