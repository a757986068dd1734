"""Banks of visual tokens: their common part, CurveStream, Pyramid, SceneTilling."""
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from made_up import MadeUpModel, frame_tokens, keys_of, pinned_cache, watch
from memory.looks import chosen, frame_of, see, stream
from memory.methods import BANKS
from streamassist.curve import saliency
from streamassist.errors import StreamAssistError
from streamassist.memory import METHODS
from streamassist.memory.banks import blend, cost, shrink, stacked, total
from streamassist.types import VisualTokens
from streamassist.visual import rows_of

RELATIVE = {   # the method each is most like
    "curve_stream": "scene_tilling",
    "save_mem": "causal_mem",
    "flash_vstream": "flash_star",
    "flash_star": "flash_vstream",
    "pyramid": "curve_stream",
    "scene_tilling": "pyramid",
    "video_streaming": "omni_live",
    "omni_live": "video_streaming",
    "causal_mem": "save_mem",
}


def picture(values: list[float], width: int, **facts) -> VisualTokens:
    rows = torch.tensor(values, dtype=torch.float32)[:, None]
    return VisualTokens(rows, (1, len(values) // width, width), 0.0, 0, **facts)


# ---------------------------------------------------------------- maps

def test_a_map_is_the_mean_of_its_cells_in_every_level():
    tokens = picture([0, 2, 4, 6, 2, 4, 6, 8], 4, deepstack=(torch.ones(8, 3),), before=(5,))
    small = shrink(tokens, 1, 2)
    assert small.embeds[:, 0].tolist() == [2.0, 6.0] and small.grid == (1, 1, 2)
    assert small.deepstack[0].shape == (2, 3) and small.before == (5,)
    assert shrink(tokens, 9, 9) is tokens


def test_a_map_of_an_odd_grid_with_dropped_rows():
    """3 x 3, halved to 2 x 2: cells of 4, 2, 2 and 1 places; the last place is missing."""
    whole = picture([1, 1, 5, 1, 1, 5, 3, 5, 9], 3)
    tokens = rows_of(whole, torch.arange(8))
    assert tokens.places.tolist() == list(range(8))
    mean = sum([1, 1, 5, 1, 1, 5, 3, 5]) / 8
    assert shrink(tokens, 2, 2).embeds[:, 0].tolist() == [1.0, 5.0, 4.0, mean]


def test_blend_weighs_and_stack_puts_below():
    a, b = picture([0, 4], 2), replace(picture([8, 0], 2), pts=4.0, frame=7)
    mixed = blend([a, b], [1, 3])
    assert mixed.embeds[:, 0].tolist() == [6.0, 1.0] and mixed.pts == 3.0 and mixed.frame == 7
    tower = stacked([a, b], b)
    assert tower.grid == (1, 2, 2) and tower.embeds[:, 0].tolist() == [0, 4, 8, 0]
    assert tower.pts == 4.0


# ---------------------------------------------------------------- what all banks do

@pytest.mark.parametrize("name", BANKS)
def test_frames_of_any_kind_stay_within_the_budget(name):
    """bf16, wrapper tokens, deepstack, an odd grid that changes, rows already dropped."""
    policy = METHODS[name](budget=120)
    policy.attach(MadeUpModel())
    for frame in range(60):
        grid = (1, 3, 5) if frame < 40 else (1, 4, 4)
        rows = keys_of(frame, 16)[0, 0, : grid[1] * grid[2]].bfloat16()
        tokens = VisualTokens(
            rows, grid, frame * 0.5, frame, (1, 2), (3,), deepstack=(rows + 1, rows + 2),
            signature=rows.float(),
        )
        if frame % 7 == 0:
            tokens = rows_of(tokens, torch.arange(1, len(rows)))
        policy.observe(tokens, None)
        held = policy.chosen("what?")
        assert total(held) <= 120
        assert held[-1].embeds is tokens.embeds
        for one in held:
            assert one.embeds.dtype == torch.bfloat16 and one.signature is None
            assert [len(level) for level in one.deepstack] == [len(one.embeds)] * 2
            places = range(one.grid[1] * one.grid[2]) if one.places is None else one.places.tolist()
            assert len(places) == len(one.embeds) and sorted(set(places)) == list(places)
        assert all(a.pts <= b.pts for a, b in pairwise(held))


@pytest.mark.parametrize("name", BANKS)
def test_a_frame_larger_than_the_budget_is_answered_on_alone(name):
    policy, cache = stream(name, [0, 1, 2], budget=3)
    answer = policy.before_answer(cache, "dog")
    assert answer.frames() == [2] and len(answer) == 4 and cache.frames() == [2]


@pytest.mark.parametrize("name", BANKS)
def test_what_it_keeps_differs_from_its_relatives(name):
    kept = {}
    for other in (name, "last_n", "uniform", RELATIVE[name]):
        policy = METHODS[other](**({"frames": 10} if other == "last_n" else {"budget": 40}))
        policy.attach(MadeUpModel())
        cache = pinned_cache()
        for frame in range(60):
            watch(policy, cache, frame)
        answer = policy.before_answer(cache, "what?")
        kept[other] = answer.used().frame[answer.num_pinned :].tolist()
    assert all(kept[name] != frames for other, frames in kept.items() if other != name)


def test_the_streams_own_cache_serves_while_it_holds_everything():
    policy, cache = stream("curve_stream", [0, 1, 2], frames=3)
    assert policy.before_answer(cache, "dog") is cache
    see(policy, cache, frame_of(3, 3))
    assert policy.before_answer(cache, "dog") is not cache and cache.frames() == [1, 2, 3]


def test_an_answer_reads_only_what_the_last_one_had_not():
    looks = [0, 1, 2, 3, 4, 5]
    policy, cache = stream("scene_tilling", looks)
    model = policy.model
    before, first = model.read, policy.before_answer(cache, "dog")
    assert model.read == before + 6
    model.forward(model.text_chunk([1, 2], first.next_position, 3, 0.0), first)   # a question
    again = policy.before_answer(cache, "cat")
    assert model.read == before + 6 and again.frames() == [0, 1, 2, 3, 4, 5] and len(again) == 24
    see(policy, cache, frame_of(6, 6))
    more = policy.before_answer(cache, "dog")
    assert model.read == before + 8   # the frame in the stream, and once more for the answer
    fresh_policy, fresh_cache = stream("scene_tilling", [*looks, 6])
    fresh = fresh_policy.before_answer(fresh_cache, "dog")
    assert more.size == fresh.size == 31
    assert more.raw[:, :, :31].equal(fresh.raw[:, :, :31])
    positions = [answer.used().position[0] for answer in (more, fresh)]
    assert (positions[0] - positions[0][0]).equal(positions[1] - positions[1][0])


def test_a_setting_out_of_range_is_named():
    with pytest.raises(StreamAssistError, match="frames"):
        METHODS["pyramid"](frames=0)


# ---------------------------------------------------------------- CurveStream

def test_saliency_is_motion_and_a_fifth_of_the_bend():
    east, north = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert saliency(east, north, east) == pytest.approx(1 + 0.2 * 2)     # straight back
    assert saliency(east, east, north) == pytest.approx(1.0)             # from a stand


def test_curve_stream_by_hand():
    """Scores from frame 2 on: 0, 0, 1, 0, 0. The first mean is 0 and nothing lies below it, so
    frames 2 and 3 stay small; frame 4 lies 3.2 deviations above 0.1; then 0 is below the mean."""
    policy, _ = stream("curve_stream", [0, 0, 0, 0, 1, 1, 1], budget=40)
    assert chosen(policy) == [(0, 4), (1, 4), (2, 1), (3, 1), (4, 4), (6, 4)]


def test_curve_stream_forgets_the_oldest_first():
    policy, _ = stream("curve_stream", [0, 1, 2, 3, 4, 5, 6, 7], budget=13, sharp=-10)
    assert chosen(policy) == [(5, 4), (6, 4), (7, 4)]


# ---------------------------------------------------------------- Pyramid

def test_pyramid_by_hand():
    """Room for one sharp, one middle and six coarse frames. Frame 8 pushes frame 0 out of the sharp
    bank, that one itself out of the middle one (they hold two, the earlier goes), and of the seven
    coarse ones 1 and 2 are alike."""
    policy, _ = stream("pyramid", [0, 1, 1, 2, 6, 3, 4, 5, 7], budget=15)
    banks = [[held.frame for held, _ in bank] for bank in policy._banks]
    assert banks == [[8], [4], [0, 2, 3, 5, 6, 7]]
    assert chosen(policy)[-1] == (8, 4) and total(policy.chosen("")) == 11


def test_pyramid_halves_the_side_from_bank_to_bank():
    policy = METHODS["pyramid"](budget=512)
    sizes = policy._sizes(frame_tokens(0, 4))
    assert sizes == [(4, 4), (2, 2), (1, 1)]
    assert policy._capacities(frame_tokens(0, 4), sizes) == [19, 19, 116]   # 19*16 + 19*4 + 116
    assert cost(frame_tokens(0, 4)) + 19 * 16 + 19 * 4 + 116 == 512


# ---------------------------------------------------------------- SceneTilling

def test_scene_tilling_by_hand():
    """Likeness 1 1 0 1 1 1 1: frame 3 lies 1 below the peak, mean + deviation / 2 is 0.57. Room for
    four frames: each scene keeps its first frame and its newest one."""
    policy, _ = stream("scene_tilling", [0, 0, 0, 1, 1, 1, 1, 1], budget=16)
    assert [[t.frame for t in scene.held] for scene in policy._scenes] == [[0, 2], [3, 7]]
    assert chosen(policy) == [(0, 4), (2, 4), (3, 4), (7, 4)]


def test_the_shallowest_boundary_is_lifted():
    slope = 0.6 * torch.eye(8)[0] + 0.8 * torch.eye(8)[1]
    policy, _ = stream("scene_tilling", [0] * 4 + [slope] * 4 + [2] * 4, scenes=2)
    assert [scene.held[0].frame for scene in policy._scenes] == [0, 8]
