"""Each reducer on a few tokens whose fate can be worked out on paper."""
import numpy as np
import pytest
import torch

from made_up import MadeUpModel, append, fresh_of, pinned_cache
from streamassist.tokens import METHODS
from streamassist.tokens.tom_reduction import density_peaks
from streamassist.types import VisualTokens
from streamassist.visual import places_of

BLACK = np.zeros((8, 8, 3), np.uint8)


def at_angles(*degrees: float, frame: int = 0) -> VisualTokens:
    """Unit rows in a plane, a row of the grid."""
    angles = torch.tensor(degrees).deg2rad()
    rows = torch.stack((angles.cos(), angles.sin()), 1)
    return VisualTokens(rows, (1, 1, len(degrees)), float(frame), frame)


def places(tokens: VisualTokens) -> list[int]:
    return places_of(tokens).tolist()


def reduced(method, *frames: VisualTokens, image=BLACK) -> list[list[int]]:
    return [places(method.reduce(tokens, image)) for tokens in frames]


def test_temporal_drop_reads_what_turned_by_sixty_degrees_or_more():
    method = METHODS["temporal_drop"](threshold=0.5)
    assert reduced(method, at_angles(0, 0, 0, 0), at_angles(0, 50, 61, 180)) == [
        [0, 1, 2, 3], [2, 3]
    ]
    assert method.news == 0.5


def test_temporal_drop_keeps_one_token_of_a_still_frame_and_tells_that_nothing_is_new():
    method = METHODS["temporal_drop"](threshold=0.5)
    assert reduced(method, at_angles(0, 90), at_angles(1, 110))[1] == [1]
    assert method.news == 0


def test_a_slow_drift_is_read_when_a_whole_frame_is_due():
    method = METHODS["temporal_drop"](threshold=0.5, refresh=4)
    drift = [at_angles(20 * i, 20 * i) for i in range(9)]
    counts = [len(kept) for kept in reduced(method, *drift)]
    assert counts == [2, 1, 1, 1, 2, 1, 1, 1, 2]


def test_temporal_drop_can_keep_a_share_whatever_the_distances():
    method = METHODS["temporal_drop"](share=0.5)
    assert reduced(method, at_angles(0, 0, 0, 0), at_angles(3, 1, 0, 2))[1] == [0, 3]


def test_a_token_that_moved_a_cell_is_known_where_the_reach_allows():
    moved = at_angles(0, 90, 180), at_angles(300, 0, 90)
    assert reduced(METHODS["temporal_drop"](threshold=0.4), *moved)[1] == [0, 1, 2]
    assert reduced(METHODS["temporal_drop"](threshold=0.4, reach=1), *moved)[1] == [0]


def test_temporal_drop_by_pixels_compares_the_cells():
    method, lit = METHODS["temporal_drop"](by="pixel", threshold=0.1), BLACK.copy()
    lit[:, 4:] = 60                                            # 60 / 255 = 0.24 in the right half
    method.reduce(at_angles(0, 0), BLACK)
    assert places(method.reduce(at_angles(0, 0), lit)) == [1] and method.news == 0.5


@pytest.mark.parametrize("score", ["gaussian", "dual_anchor"])
def test_stc_reads_what_is_unlike_the_frame_and_the_past(score):
    method = METHODS["stc"](share=0.25, score=score)
    usual, odd = [1.0, 0.5, 0.0, 0.1], [0.0, 0.5, 1.0, 0.5]   # unlike in a calm channel too
    rows = torch.tensor([usual, usual, odd, usual])
    tokens = VisualTokens(rows, (1, 1, 4), 0.0, 0)
    assert reduced(method, tokens, tokens) == [[2], [2]] and method.news == 0.25


def test_stcs_memory_is_the_mean_of_all_frames():
    method = METHODS["stc"](share=0.5)
    method.reduce(at_angles(0, 0), BLACK)
    method.reduce(at_angles(90, 90), BLACK)
    method.reduce(at_angles(90, 90), BLACK)
    assert method._memory.tolist() == pytest.approx([1 / 3, 2 / 3], abs=1e-6)


def test_tom_shares_its_tokens_between_what_moved_and_what_stayed():
    """Of eight tokens two moved; half are read: one of the moved, three centres of the others."""
    method = METHODS["tom"](share=0.5)
    first = at_angles(0, 0, 0, 30, 30, 60, 90, 90)
    second = at_angles(0, 0, 0, 30, 30, 60, 150, 200)
    kept = reduced(method, first, second)[1]
    assert len(kept) == 4 and kept[-1] in (6, 7) and max(kept[:3]) < 6
    assert method.news == 0.25


def test_density_peaks_finds_one_centre_in_each_heap():
    rows = torch.tensor([[0.0, 0], [0, 0.1], [5, 5], [5, 5.1], [5.1, 5], [0.1, 0]])
    centres, owner = density_peaks(rows, 2)
    groups = owner.tolist()
    assert len({groups[i] for i in (0, 1, 5)}) == 1 == len({groups[i] for i in (2, 3, 4)})
    assert {groups[c] for c in centres.tolist()} == {0, 1} and groups[0] != groups[2]


def test_static_tokens_become_the_mean_of_their_heap():
    method = METHODS["tom"](share=0.5)
    tokens = VisualTokens(torch.tensor([[1.0, 0], [3, 0], [0, 2], [0, 4]]), (1, 1, 4), 0.0, 0)
    method.reduce(tokens, BLACK)
    left = method.reduce(tokens, BLACK)
    assert sorted(map(tuple, left.embeds.tolist())) == [(0, 3), (2, 0)]


def test_basis_keeps_the_new_direction_and_a_background():
    method = METHODS["basis"](share=0.5)
    for _ in range(3):
        method.reduce(VisualTokens(torch.eye(4)[[0, 0, 1, 1]], (1, 1, 4), 0.0, 0), BLACK)
    left = method.reduce(VisualTokens(torch.eye(4)[[0, 0, 1, 3]], (1, 1, 4), 1.0, 1), BLACK)
    assert places(left) == [0, 3]
    assert left.embeds[0].tolist() == pytest.approx([2 / 3, 1 / 3, 0, 0])
    assert left.embeds[1].tolist() == [0, 0, 0, 1]


def test_merging_leaves_out_what_the_frame_before_had_and_then_merges_twins():
    """Of six tokens two go for being old (0 and 30 degrees), two for being twins of a neighbour."""
    method = METHODS["merging"](share=1 / 3)
    method.reduce(at_angles(0, 30, 30, 0, 0, 30), BLACK)
    left = method.reduce(at_angles(0, 120, 122, 30, 200, 204), BLACK)
    assert len(left.embeds) == 2
    angles = torch.atan2(left.embeds[:, 1], left.embeds[:, 0]).rad2deg() % 360
    assert sorted(angles.tolist()) == pytest.approx([121, 202], abs=0.1)


def test_merged_tokens_weigh_as_many_as_they_stand_for():
    method = METHODS["merging"](share=0.25)
    rows = torch.tensor([[1.0, 0], [2, 0], [6, 0], [7, 0]])
    left = method.reduce(VisualTokens(rows, (1, 1, 4), 0.0, 0), BLACK)
    assert left.embeds.tolist() == [[4.0, 0.0]]


def grey(value: int, cells: int = 0) -> np.ndarray:
    """A picture whose first `cells` columns of 32 are lighter."""
    image = np.full((48, 64, 3), value, np.uint8)
    image[:, : 2 * cells] += 50
    return image


def test_motion_encodes_only_what_differs_from_the_last_frame_read():
    method = METHODS["motion"](least=0.1, most_s=10)
    pictures = [grey(90), grey(92), grey(90, 2), grey(90, 4), grey(90, 4), grey(90, 6), grey(90, 8)]
    asked = [method.wants(image, i / 2) for i, image in enumerate(pictures)]
    assert asked == [True, False, False, True, False, False, True]
    drift = [method.wants(grey(90 + 4 * i), 4 + i / 2) for i in range(8)]
    assert [i for i, asked in enumerate(drift) if asked] == [0, 4], "a slow drift adds up"


def test_a_frame_is_read_when_none_was_for_a_while_also_after_the_time_ran_back():
    method = METHODS["motion"](least=0.1, most_s=2.0)
    times = [0, 0.5, 1.5, 2.0, 2.5, 4.0, 1.0]
    assert [method.wants(grey(90), t) for t in times] == [1, 0, 0, 1, 0, 1, 1]


def kept_frames(method, degrees: list[float]) -> list[int]:
    frames = [at_angles(d, frame=i) for i, d in enumerate(degrees)]
    return [i for i, tokens in enumerate(frames) if method.reduce(tokens, BLACK) is not None]


def test_scene_reads_what_follows_a_cut():
    method = METHODS["scene"](change=0.5, follow=2, most_s=1000)
    assert kept_frames(method, [0, 5, 10, 10, 90, 90, 95, 95, 300]) == [0, 1, 4, 5, 8]
    method.reset()
    method.most_s = 3
    assert kept_frames(method, [0, 5, 10, 10, 10, 10, 10, 10]) == [0, 1, 4, 7]


def test_curvature_reads_what_moves_more_than_usual():
    method = METHODS["curvature"](most_s=1000, above=0.5)
    assert 6 in kept_frames(method, [0, 1, 2, 3, 4, 5, 60, 61, 62, 63])
    method.reset()
    assert kept_frames(method, [0.0] * 6) == [0, 1]


def frame_in(cache, model, side: int = 2, frame: int = 0):
    tokens = VisualTokens(torch.zeros(side * side, 8), (1, side, side), frame / 2, frame)
    chunk = model.frame_chunk(tokens, cache.next_position)
    append(cache, chunk, seed=frame)
    return chunk


def test_key_norm_keeps_the_smallest_keys_where_they_stood():
    model, cache = MadeUpModel(), pinned_cache()
    chunk = frame_in(cache, model)
    cache.raw[:, :, 3] *= 5
    cache.raw[:, :, 6] *= 9
    positions = cache.used().position[0, 3:].tolist()
    METHODS["key_norm"](share=0.5).after_prefill(cache, chunk)
    assert cache.used().position[0, 3:].tolist() == positions[1:3]


def test_slow_fast_pools_a_frame_once_it_is_old():
    model, cache = MadeUpModel(), pinned_cache()
    method = METHODS["slow_fast"](sharp=1, side=1)
    method.after_prefill(cache, frame_in(cache, model, 2, 0))
    raw, value = (b[:, :, 3:7].mean(2) for b in (cache.raw, cache.value))
    method.after_prefill(cache, frame_in(cache, model, 2, 1))
    assert cache.used().frame[3 :].tolist() == [0, 1, 1, 1, 1]
    torch.testing.assert_close(cache.raw[:, :, 3], raw)
    torch.testing.assert_close(cache.value[:, :, 3], value)
    for layer in range(2):
        torch.testing.assert_close(cache.rotated[layer, :, : cache.size], fresh_of(cache, layer),
                                   atol=1e-5, rtol=0)


def test_slow_fast_lets_a_frame_be_that_the_memory_has_taken():
    model, cache = MadeUpModel(), pinned_cache()
    method = METHODS["slow_fast"](sharp=1, side=1)
    method.after_prefill(cache, frame_in(cache, model, 2, 0))
    cache.keep(torch.tensor([True, False, True, True]))
    method.after_prefill(cache, frame_in(cache, model, 2, 1))
    assert cache.used().frame[3 :].tolist() == [0, 0, 0, 1, 1, 1, 1]
