"""Position policies: by hand, exact under rotation, and what holds for all on any stream."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from made_up import LAYERS, add_frame, append, check_rotation, frame_chunk, pinned_cache
from streamassist.cache import KVCache
from streamassist.positions import POSITIONS, Terms, original, single_angle, true_time
from streamassist.slots import Slots, close_gaps, close_ranks
from streamassist.types import Chunk, Role

each = pytest.mark.parametrize("name", POSITIONS)
axes = pytest.mark.parametrize("num_axes", [1, 3])


def kept(num_axes: int, frames: tuple[int, ...] = (0, 3, 5)) -> KVCache:
    """A prompt of 3 and these frames of 4 tokens, of a stream at 2 fps; gaps where others were."""
    cache = pinned_cache(num_axes)
    for frame in range(frames[-1] + 1):
        add_frame(cache, frame)
    cache.keep(torch.isin(cache.used().frame[3:], torch.tensor(frames)))
    return cache


def starts(slots: Slots) -> tuple[int, ...]:
    """Where the prompt and the three frames of `kept` start, on the first axis of one plane."""
    return tuple(slots.position[0, 0, [0, 3, 7, 11]].tolist())


# ---------------------------------------------------------------- by hand

BY_HAND_ONE_AXIS = [   # the prompt takes 3 positions, a frame 4; frames at 0, 1.5 and 2.5 s
    ("original", Terms(), (0, 3, 15, 23)),
    ("original", Terms(limit=27), (0, 3, 15, 23)),
    ("original", Terms(limit=19), (8, 11, 18, 23)),        # 20 back becomes 12, 8 becomes 5
    ("contiguous", Terms(), (12, 15, 19, 23)),
    ("single_angle", Terms(), (19, 22, 22, 23)),
    ("single_angle", Terms(window=8), (15, 18, 19, 23)),
    ("single_angle", Terms(window=5), (15, 18, 19, 23)),   # whole frames
    ("single_angle", Terms(window=99), (12, 15, 19, 23)),
    ("single_angle", Terms(together=True), (22, 22, 22, 23)),
    ("true_time", Terms(), (10, 13, 19, 23)),              # a step of 1 s is 4 positions
    ("true_time", Terms(rate=8.0), (0, 3, 15, 23)),
    ("true_time", Terms(rate=8.0, limit=20), (7, 10, 18, 23)),   # at 5.2 a second
    ("true_time", Terms(rate=1.0), (12, 15, 19, 23)),      # frames do not overlap
    ("true_time", Terms(rate=8.0, limit=5), (12, 15, 19, 23)),
]
BY_HAND_THREE_AXES = [   # a frame takes 2 positions
    ("original", Terms(), (0, 3, 9, 13)),
    ("contiguous", Terms(), (6, 9, 11, 13)),
    ("single_angle", Terms(), (8, 11, 11, 13)),
    ("single_angle", Terms(window=8), (6, 9, 11, 13)),
    ("single_angle", Terms(together=True), (12, 12, 12, 13)),
    ("true_time", Terms(), (5, 8, 11, 13)),
    ("true_time", Terms(rate=6.0), (-5, -2, 7, 13)),
    ("true_time", Terms(rate=1.2), (7, 10, 12, 13)),       # rows and columns may overlap
    ("true_time", Terms(rate=6.0, limit=12), (3, 6, 10, 13)),
    ("true_time", Terms(rate=0.0), (8, 11, 12, 13)),       # two times never
]


@pytest.mark.parametrize(
    "axes, ends, name, terms, places",
    [(1, 27, *case) for case in BY_HAND_ONE_AXIS] + [(3, 15, *case) for case in BY_HAND_THREE_AXES],
)
def test_by_hand(axes, ends, name, terms, places):
    cache = kept(axes)
    cache.place(POSITIONS[name](cache.in_use(), terms))
    assert starts(cache.in_use()) == places
    assert cache.next_position == ends
    check_rotation(cache)


def test_single_angle_has_one_position_on_one_axis_and_whole_frames_on_three():
    one = single_angle(kept(1).in_use(), Terms())
    assert one.position[0, 0].tolist() == [19, 20, 21, *[22] * 8, 23, 24, 25, 26]
    cache = kept(3)
    offsets = cache.in_use().position - cache.in_use().base
    three = single_angle(cache.in_use(), Terms())
    assert torch.equal(three.position - three.base, offsets)
    assert three.position[:, 0, 3:7].tolist() == three.position[:, 0, 7:11].tolist()


def test_what_stood_at_one_position_can_stand_in_a_row_again():
    cache = kept(1)
    row = close_ranks(cache.in_use()).position
    cache.place(single_angle(cache.in_use(), Terms()))
    cache.renumber(ranks=True)
    assert torch.equal(cache.in_use().position, row)
    check_rotation(cache)


def test_contiguous_closes_the_gaps_inside_frames_on_one_axis():
    for num_axes, close in ((1, close_ranks), (3, close_gaps)):
        cache = kept(num_axes)
        cache.keep(torch.arange(12) != 5)
        layout = POSITIONS["contiguous"](cache.in_use(), Terms())
        assert torch.equal(layout.position, close(cache.in_use()).position)


def test_a_prompt_that_is_not_in_front_goes_there_and_nothing_else_moves():
    cache = kept(1)
    cache.slots.position[:, :, :3] += 16
    cache.slots.base[:, :3] += 16
    layout = original(cache.in_use(), Terms())
    assert layout.position[0, 0].tolist() == [0, 1, 2, *range(3, 7), *range(15, 19), *range(23, 27)]


@pytest.mark.parametrize("window", [24, 8, 4, 0])
def test_one_frame_that_came_early_is_no_measure(window):
    cache = pinned_cache()
    for frame, pts in enumerate((0.0, 40.0, 160.0, 160.5, 160.52, 161.0, 161.5, 162.0)):
        append(cache, frame_chunk(cache, frame, pts=pts), seed=frame)
    base = true_time(cache.in_use(), Terms(window=window)).base[0]
    assert int(base[-1] - base[3]) == 162 * 4 / 0.5


@pytest.mark.parametrize("window, apart", [(8, 244), (4, 16), (0, 16)])
def test_the_step_is_that_of_the_window_though_most_are_longer(window, apart):
    """At 0.5 s a frame 30.5 s are 244 positions; at 10 s 12, which four frames exceed. A window of
    one frame has no step, so all frames are asked."""
    cache = pinned_cache()
    for frame, pts in enumerate((0.0, 10.0, 20.0, 30.0, 30.5)):
        append(cache, frame_chunk(cache, frame, pts=pts), seed=frame)
    base = true_time(cache.in_use(), Terms(window=window)).base[0]
    assert int(base[-1] - base[3]) == apart


def test_a_larger_frame_before_ends_no_later_than_the_newest():
    """On three axes, where times may come close: what follows must not meet its rows."""
    cache = pinned_cache(3)
    append(cache, frame_chunk(cache, 0, side=3), seed=0)
    append(cache, frame_chunk(cache, 1, side=1), seed=1)
    layout = true_time(cache.in_use(), Terms(rate=0.0))
    assert layout.base[0].tolist() == [1, 2, 3, *[4] * 9, 6]


def test_the_layers_share_one_rate():
    """The layer that reaches furthest back decides for all."""
    cache = pinned_cache()
    for frame in range(9):
        add_frame(cache, frame)
    newest = torch.arange(32, 36)
    rows = [torch.cat((torch.arange(4 * f, 4 * f + 4), newest)) for f in (6, 0)]
    cache.keep_by_layer(torch.stack(rows))      # 1 s and 4 s ago
    layout = true_time(cache.in_use(), Terms(rate=8.0, limit=3 + 4 + 24))
    assert (layout.base[:, -1:] - layout.base[:, 3:4]).flatten().tolist() == [6, 24]


def test_frames_between_other_tokens_do_not_overlap_in_time():
    """As the Qwen adapters have them: a token before and one behind each frame."""
    cache = pinned_cache(3)
    for frame in range(4):
        bare = frame_chunk(cache, frame)
        line = torch.tensor([[bare.start], [bare.start + 3]])
        positions = torch.cat(
            (line[0].expand(3, 1), bare.positions + 1, line[1].expand(3, 1)), 1
        )
        append(cache, Chunk(
            torch.zeros(6, dtype=torch.int64), positions, bare.start, 4, Role.VISUAL, bare.pts,
            frame, bare.visual,
        ), seed=frame)
    layout = true_time(cache.in_use(), Terms(rate=2.0))
    assert (layout.position[0, 0].diff() >= 0).all()
    assert torch.equal(layout.position, close_gaps(cache.in_use()).position)


@each
@axes
def test_nothing_to_lay_out(name, num_axes):
    empty = POSITIONS[name](Slots.empty(num_axes, 0), Terms())
    assert empty.position.shape == (num_axes, 1, 0) and empty.base.shape == (1, 0)
    cache = pinned_cache(num_axes)
    alone = POSITIONS[name](cache.in_use(), Terms(limit=2))
    assert torch.equal(alone.position, cache.in_use().position)
    add_frame(cache, 0)
    one = POSITIONS[name](cache.in_use(), Terms())
    assert torch.equal(one.position, cache.in_use().position)


# ---------------------------------------------------------------- any stream

@st.composite
def streams(draw) -> KVCache:
    """Frames of several sizes at uneven times, some gone, often others in each layer."""
    cache, pts = pinned_cache(draw(st.sampled_from([1, 3]))), 0.0
    for frame in range(draw(st.integers(2, 8))):
        append(cache, frame_chunk(cache, frame, draw(st.integers(1, 3)), pts), seed=frame)
        pts += draw(st.sampled_from([0.02, 0.5, 0.5, 7.3, 3600.0]))
    shuffle = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    order = torch.rand(LAYERS, len(cache), generator=shuffle).argsort(1)
    order = order[:, : draw(st.integers(1, len(cache)))]
    if draw(st.booleans()):
        cache.keep_by_layer(order.sort(1).values)
    else:
        cache.keep(torch.zeros(len(cache)).index_fill(0, order[0], 1).bool())
    return cache


TERMS = st.builds(
    Terms, window=st.integers(0, 40), rate=st.none() | st.floats(0, 100),
    limit=st.none() | st.integers(1, 400),
)


@settings(max_examples=80, deadline=None)
@given(cache=streams(), steps=st.lists(st.tuples(st.sampled_from(sorted(POSITIONS)), TERMS),
                                       min_size=1, max_size=3))
def test_one_layout_after_another_is_exact_and_in_order(cache, steps):
    """Property: the newest chunk stays, the prompt is together in front, nothing is behind its
    successor or behind the next chunk's start, and keys are rotated to where the slots say."""
    for name, terms in steps:
        last = cache.in_use().position[..., -1].clone()
        cache.place(POSITIONS[name](cache.in_use(), terms))
        now = cache.in_use()
        assert torch.equal(now.position[..., -1], last)
        assert (now.base.diff() >= 0).all()
        assert (now.position[0].diff() >= 0).all()
        assert int(now.position.max()) < cache.next_position
        prompt, rest = now.position[..., :3], now.position[..., 3:]
        assert (prompt.diff() == 1).all() and (prompt.amax(-1) < rest.amin(-1)).all()
        check_rotation(cache)


@settings(max_examples=80, deadline=None)
@given(cache=streams(), rate=st.none() | st.floats(0, 100), limit=st.integers(1, 400),
       name=st.sampled_from(["original", "true_time"]))
def test_the_limit_holds_wherever_the_chunks_fit(cache, rate, limit, name):
    cache.place(POSITIONS[name](cache.in_use(), Terms(rate=rate, limit=limit)))
    extent = cache.extent
    cache.place(true_time(cache.in_use(), Terms(rate=0.0)))
    assert extent <= max(limit, cache.extent)


@settings(max_examples=40, deadline=None)
@given(cache=streams())
def test_far_frames_lie_as_many_positions_apart_as_seconds(cache):
    """At a rate so high that no frame is in another's way; the same in all layers."""
    newest, rate = cache.in_use().base[:, -1:].clone(), 5000.0
    slots = cache.in_use()
    ago = slots.pts[:, -1:] - slots.pts
    layout = true_time(slots, Terms(rate=rate))
    assert torch.equal((newest - layout.base)[:, 3:], (rate * ago).round().long()[:, 3:])
    assert torch.equal(
        (layout.position - layout.base)[..., 3:], (slots.position - slots.base)[..., 3:]
    )
