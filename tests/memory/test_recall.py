"""recall: what stays in the store, when it looks back, and what it brings."""
import pytest
import torch

from made_up import HEADS, LAYERS, MadeUpModel, append, keys_of, pinned_cache, watch
from streamassist.config import EngineConfig
from streamassist.engine import Engine
from streamassist.memory import METHODS
from streamassist.memory.page_index import PageIndex
from streamassist.types import Role, VisualTokens
from tests import tiny_nano

# ---------------------------------------------------------------- which pages look alike

def index_of(*looks: list[float]) -> PageIndex:
    index = PageIndex()
    for i, look in enumerate(looks):
        index.add(i, torch.tensor(look))
    return index


def test_of_the_most_alike_pair_the_one_with_a_third_relative_goes():
    # most alike: pages 0 and 3 (0.96); page 3 has page 2 near (0.936), page 0 only 0.8
    index = index_of([1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [0.96, 0.28])
    assert index.most_redundant() == 3
    index.remove(3)
    assert index.most_redundant() in (0, 2) and len(index) == 3
    assert index_of([1.0, 0.0]).most_redundant() == 0


def test_the_index_is_the_same_whatever_came_and_went():
    """Against all cosines computed anew, over pages that come and go in a random order."""
    draw = torch.Generator().manual_seed(0)
    index, looks = PageIndex(), {}
    for i in range(120):
        looks[i] = torch.nn.functional.normalize(torch.randn(6, generator=draw), dim=0)
        index.add(i, looks[i])
        if i % 3 == 2:
            gone = list(looks)[int(torch.randint(len(looks), (1,), generator=draw))]
            index.remove(gone)
            del looks[gone]
        if i % 50 == 49:
            kept = set(list(looks)[::2])
            index.keep_only(kept)
            looks = {k: looks[k] for k in kept}
        count = len(index)
        rows = torch.stack([looks[k] for k in index.ids])
        whole = rows @ rows.T
        whole.fill_diagonal_(-2.0)
        torch.testing.assert_close(index.likeness[:count, :count], whole)
        assert (index.likeness[count:] == -2.0).all() and sorted(index.ids) == sorted(looks)
        assert torch.equal(index.nearest[:count], index.likeness[:count].amax(1))
        pair = divmod(int(whole.argmax()), count)
        assert index.most_redundant() in {index.ids[row] for row in pair}


# ---------------------------------------------------------------- watching

def look_at(policy, cache, frame: int, direction: int) -> None:
    """A frame whose visual tokens all point in one of eight directions."""
    embeds = torch.eye(8)[direction].repeat(4, 1) + 0.01 * keys_of(frame, 4)[0, 0]
    tokens = VisualTokens(embeds, (1, 2, 2), frame * 0.5, frame)
    policy.observe(tokens, cache)
    policy.model.forward(policy.model.frame_chunk(tokens, cache.next_position), cache)
    policy.after_prefill(cache)


class Words(MadeUpModel):
    """"dog" means direction 3; queries are all alike, so that only words tell pages apart."""

    sure, sees = True, ("dog",)

    def probe(self, statement: str, cache, pts) -> float:
        append(cache, self.text_chunk([1, 2], cache.next_position, Role.BRANCH, pts), seed=1)
        return 0.99 if any(thing in statement for thing in self.sees) else 0.01

    def encode_text(self, text: str) -> list[int]:
        return [3 if word == "dog" else 4 for word in text.split()]

    def embed_text(self, ids) -> torch.Tensor:
        return torch.eye(8)[list(ids)]

    def queries_of(self, chunk, cache) -> torch.Tensor:
        append(cache, chunk, seed=1)
        return torch.zeros(LAYERS, 2 * HEADS, chunk.positions.shape[1], 8)

    def forward(self, chunk, cache) -> torch.Tensor:
        super().forward(chunk, cache)
        return 20 * torch.eye(16)[0] if self.sure else torch.zeros(16)


def stream(directions: list[int], **settings):
    chosen = {"recent": 1, "pages": 1, "stored": 8, "kept": 1.0, **settings}
    policy = METHODS["recall"](**chosen)
    policy.attach(Words())
    cache = pinned_cache()
    for frame, direction in enumerate(directions):
        look_at(policy, cache, frame, direction)
    return policy, cache


def test_hand_computed_example_the_unlike_frame_stays():
    """Room for two pages: of 0 0 3 0 0 | 1 the dog (3) and one of the others are left."""
    policy, _ = stream([0, 0, 3, 0, 0, 1])
    frames = policy.held_frames()
    assert len(frames) == 2 and 2 in frames


def test_a_question_about_the_past_brings_the_page_it_names():
    policy, cache = stream([0, 3, 1, 2, 0, 1], stored=100)
    answer = policy.before_answer(cache, "Was there a dog?")
    assert answer is not cache and answer.frames() == [1, 5]
    assert policy.evidence()[0][0] == 1
    assert answer.used().role[: answer.num_pinned].tolist() == [Role.PROMPT] * 3


def test_a_time_in_the_question_outweighs_its_words():
    policy, cache = stream([0, 3, 1, 2] + [0] * 16, stored=200)   # frame 10 is at 5.0 s
    policy.before_answer(cache, "What was there 4 seconds ago?")
    (frame, _), = policy.evidence()
    assert abs(frame * 0.5 - 5.5) <= 5.0
    policy.before_answer(cache, "Was there a dog at 0:00?")
    assert policy.evidence()[0][0] == 1


def test_a_question_about_now_is_answered_on_the_stream():
    policy, cache = stream([0, 3, 1, 2, 0, 1], stored=100)
    assert policy.before_answer(cache, "Is there a dog now?") is cache
    assert policy.evidence() == []


@pytest.mark.parametrize(("question", "supported"), [
    ("Was there a dog?", True), ("Was there a cat?", False), ("Was there a cat or a dog?", True),
    ("What happened?", True), ("Is there a cat now?", True),
])
def test_what_the_model_does_not_see_on_the_pages_is_not_supported(question, supported):
    """A question about now, or without a thing, is for the answer itself."""
    policy, cache = stream([0, 3, 1, 2, 0, 1], stored=100)
    answer = policy.before_answer(cache, question)
    size = answer.size
    assert policy.supported() == supported
    assert answer.size == size and not (answer.in_use().role == Role.BRANCH).any()
    policy.before_answer(cache, "Is there a dog now?")
    assert policy.supported(), "what one question lacks is not held against the next"


@pytest.mark.parametrize(("at_once", "budget", "read"), [
    (1, 100, [1]), (8, 100, [0, 1, 2, 3, 4, 5]), (8, 16, [0, 1, 4, 5]), (8, 12, [1, 4, 5]),
])
def test_an_answer_reads_what_the_budget_allows_or_the_one_frame_that_the_model_can(
    at_once, budget, read
):
    policy, cache = stream([0, 3, 1, 2, 0, 1], stored=100, pages=4, recent=2, budget=budget)
    policy.model.frames_at_once = at_once
    frames = policy.before_answer(cache, "Was there a dog?").frames()
    assert len(frames) == len(read) and set(frames) >= {1, *read[-1 if at_once == 1 else -2 :]}


def test_of_the_pages_that_look_alike_the_model_says_which_it_is():
    """Frames 1 and 4 both look like a dog; on 4 alone the model sees one."""
    policy, cache = stream([0, 3, 1, 2, 3, 0, 1], stored=100)
    policy.model.probe = lambda statement, alone, pts: 0.99 if 4 in alone.frames() else 0.2
    assert policy.before_answer(cache, "Was there a dog?").frames() == [4, 6]
    assert [frame for frame, _ in policy.evidence()] == [4] and policy.supported()
    policy.model.probe = lambda statement, alone, pts: 0.2
    policy.before_answer(cache, "Was there a dog?")
    assert not policy.supported()


def test_of_several_things_the_page_of_the_one_that_was_seen_is_read():
    policy, cache = stream([0, 3, 1, 2, 0, 1], stored=100)
    asked = []

    def probe(statement: str, alone, pts: float) -> float:
        asked.append((statement, alone.frames()))
        return 0.99 if "dog" in statement and alone.frames() == [1] else 0.01

    policy.model.probe = probe
    policy.before_answer(cache, "Which of these appeared earlier: a cat, a dog or a cup?")
    assert [s for s, _ in asked] == ["There is a cat.", "There is a dog.", "There is a cup."]
    assert policy.evidence()[0][0] == 1 and policy.supported()


@pytest.mark.parametrize("at_once", [1, 32])
def test_what_is_on_screen_alone_supports_an_answer_too(at_once):
    """The dog is in the recent frames and on no page."""
    policy, cache = stream([0, 1, 2, 0, 1, 3], stored=100)
    policy.model.frames_at_once = at_once
    policy.model.probe = lambda statement, alone, pts: 0.99 if alone.frames() == [5] else 0.01
    answer = policy.before_answer(cache, "Was there a dog earlier?")
    assert policy.supported() and policy.evidence()[0][0] == 5
    assert answer.frames().count(5) == 1 and 5 in answer.frames()


@pytest.mark.parametrize(("beside", "read"), [(1, [4, 6]), (3, None)])
def test_a_recent_frame_that_shows_it_is_read_like_a_page_unless_it_is_among_the_newest(
    beside, read
):
    policy, cache = stream([0, 1, 2, 0, 3, 1, 0], stored=100, recent=4, beside=beside)
    policy.model.probe = lambda statement, alone, pts: 0.99 if alone.frames() == [4] else 0.01
    answer = policy.before_answer(cache, "Was there a dog earlier?")
    assert answer.frames() == read if read else answer is cache
    assert [frame for frame, _ in policy.evidence()] == [4] and policy.supported()


def test_beside_a_page_only_the_newest_frames_are_read():
    policy, cache = stream([0, 3, 1, 2, 0, 1, 2, 0], stored=100, recent=4, beside=2)
    assert cache.frames() == [4, 5, 6, 7]
    assert policy.before_answer(cache, "Was there a dog?").frames() == [1, 6, 7]


def test_recent_frames_leave_room_for_a_page():
    policy, cache = stream([0, 3, 1, 2, 0, 1, 2, 0], stored=100, recent=100, budget=16)
    assert cache.frames() == [5, 6, 7], "four tokens a frame: three, and a page"
    assert len(policy.before_answer(cache, "Was there a dog?")) <= 16


def test_one_frame_at_a_time_a_recent_one_may_be_the_best():
    policy, cache = stream([0, 1, 2, 0, 1, 3], stored=100)
    policy.model.frames_at_once = 1
    assert policy.before_answer(cache, "Was there a dog?").frames() == [5]
    assert policy.evidence()[0][0] == 5


def test_pages_keep_a_share_of_their_frame():
    policy, cache = stream([0, 3, 1, 2], stored=100, kept=0.5)
    ((page, block),) = policy._store.get([0])
    assert page.tokens == len(block.slots) == 2 and page.frames == (0,)
    assert block.slots.position[0, 0].diff().tolist() == [3], "spread over the frame"
    assert sorted(policy.held_frames()) == [0, 1, 2]


@pytest.mark.parametrize("sure", [True, False])
def test_words_that_do_not_tell_leave_it_to_the_models_doubt(sure):
    policy, cache = stream([0, 3, 1, 2, 0, 1], stored=100)
    policy.model.sure = sure
    size = cache.size
    assert (policy.before_answer(cache, "Describe the dog") is cache) == sure
    assert cache.size == size


SAME_ROOM = {"recall": {"recent": 4, "stored": 24, "kept": 1.0}, "last_n": {"frames": 10},
             "uniform": {"budget": 40}}


def test_it_keeps_other_frames_than_its_relatives():
    kept = {}
    for name in ("recall", "last_n", "uniform"):
        policy = METHODS[name](**SAME_ROOM[name])
        policy.attach(MadeUpModel())
        cache = pinned_cache()
        for frame in range(120):
            watch(policy, cache, frame)
        kept[name] = sorted({*cache.frames(), *policy.held_frames()})
    assert kept["recall"] != kept["last_n"] and kept["recall"] != kept["uniform"]
    scenes = {frame // 25 for frame in kept["recall"]}
    assert scenes == {0, 1, 2, 3, 4}


# ---------------------------------------------------------------- pages read anew

def test_a_page_reads_as_if_its_frame_had_been_the_only_one():
    nano, _ = tiny_nano.build()
    engine = Engine(nano, METHODS["recall"](recent=2), EngineConfig())
    frames = tiny_nano.frames(5)
    for frame in frames:
        engine.observe(frame)
    for (page, block), frame in zip(engine.memory._store.get(range(3)), frames, strict=False):
        alone = engine.cache.opening()
        nano.forward(nano.frame_chunk(nano.encode([frame])[0], alone.next_position), alone)
        first = alone.num_pinned
        assert page.frames == (frame.index,)
        torch.testing.assert_close(block.raw, alone.raw[:, :, first : alone.size])
        torch.testing.assert_close(block.value, alone.value[:, :, first : alone.size])
        assert block.slots.pts.unique().tolist() == [frame.pts]


def test_a_frame_that_would_be_the_first_to_go_is_not_read_anew():
    policy, cache = stream([0, 1, 2], stored=8)
    read = []
    policy.model.forward = lambda chunk, at: (read.append(chunk.frame), append(at, chunk, 1))[1]
    before = policy.held_frames()
    for frame, direction in ((3, 1), (4, 1), (5, 1)):
        look_at(policy, cache, frame, direction)
    again = [frame for frame in set(read) if read.count(frame) == 2]
    assert set(again) == policy.held_frames() - before and len(again) < 3
