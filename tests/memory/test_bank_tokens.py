"""SAVEMem and CausalMem: which tokens of a frame stay, and when history is looked at."""
import pytest
import torch

from memory.looks import chosen, frame_of, stream
from streamassist.memory import METHODS
from streamassist.memory.neighbours import change, components, otsu
from streamassist.memory.save_mem import Held, how_many, running, thinned
from streamassist.types import VisualTokens


def test_otsu_parts_two_heaps():
    assert 0.15 < otsu(torch.tensor([0.1, 0.15, 0.12, 1.4, 1.5])) < 1.4
    assert otsu(torch.zeros(3)) == pytest.approx(2 / 128)


def test_change_looks_one_place_around():
    """A thing that moved by one place did not change; by two places it did."""
    row = torch.eye(4)
    now = VisualTokens(row[[1, 0, 0, 0]], (1, 1, 4), 0.0, 0)
    one = VisualTokens(row[[0, 1, 0, 0]], (1, 1, 4), 0.5, 1)
    two = VisualTokens(row[[0, 0, 1, 0]], (1, 1, 4), 0.5, 1)
    assert change(now, one)[0] == 0 and change(now, two)[0] == 1
    assert change(now, None).tolist() == [2.0] * 4


def test_components_join_alike_neighbours():
    row = torch.eye(4)
    tokens = VisualTokens(row[[0, 0, 1, 0]], (1, 1, 4), 0.0, 0)   # the last is not next to the rest
    assert components(tokens).tolist() == [0, 0, 2, 3]


def test_a_large_frame_keeps_some_of_each_quadrant():
    """36 tokens, mean score 0.025: 15.6 % of 36 are 6; one from each quadrant, then the best."""
    tokens = VisualTokens(torch.ones(36, 4), (1, 6, 6), 0.0, 0)
    rows, columns = torch.arange(36) // 6, torch.arange(36) % 6
    score = torch.where((rows < 3) & (columns < 3), 0.1, 0.0)
    places = thinned(Held(tokens, score), 6).tokens.places
    corner = (places // 6 // 3 * 2 + places % 6 // 3).bincount(minlength=4)
    assert corner.tolist() == [3, 1, 1, 1]


def test_save_mem_by_hand():
    """One whole frame, one middle one. Frame 1 differs from its neighbours in its last token, which
    alone stays; frame 0 is the same all over and becomes one token. "dog" is that last token: 1
    against a running mean of 0.16; for "cat" nothing matches, so the newest frame is enough."""
    policy, _ = stream("save_mem", [0, [0, 0, 0, 3], 0], short=1, mid=1)
    assert chosen(policy, "dog") == [(0, 1), (1, 1), (2, 4)]
    assert policy.chosen("dog")[1].places.tolist() == [3]
    assert running([0.0, 1.0], 0.0) == pytest.approx(0.16)
    assert policy._found[0] == (1, pytest.approx(1.0))
    policy._found = []
    assert chosen(policy, "cat") == [(2, 4)] and policy._found == []


def test_a_planted_frame_is_recalled_and_the_gate_stays_shut_for_what_is_there():
    looks = [0, 1, 2, 3, 4, 5, 0, 1]
    policy, cache = stream("save_mem", looks, short=2)
    answer = policy.before_answer(cache, "dog")
    assert 3 in answer.frames() and policy.evidence()[0][0] == 3
    policy, cache = stream("save_mem", [*looks, 3, 3], short=2)
    assert policy.before_answer(cache, "dog").frames() == [8, 9] and policy.evidence() == []


def test_rho_opens_the_gate():
    policy, cache = stream("save_mem", [0, 1, 3, 1, 3, 3], short=2, rho=1000)
    assert 0 in policy.before_answer(cache, "dog").frames()


def test_how_much_history_by_its_spread():
    assert how_many(torch.ones(10)) == 10
    assert how_many(torch.tensor([0.0, 1.0] * 5)) == 9


def test_over_budget_the_least_generic_tokens_leave():
    """Every frame is new, so middle frames are whole: 7 (every generic word) outlives 0 to 2."""
    policy, _ = stream("save_mem", [0, 7, 1, 2, 4], short=1, budget=8)
    assert chosen(policy, "cat") in ([(4, 4)], [(1, 4), (4, 4)])
    assert [held.tokens.frame for held in policy._mid] == [1]


# ---------------------------------------------------------------- CausalMem

def rows(*vectors: tuple[int, float]) -> torch.Tensor:
    return torch.stack([scale * torch.eye(8)[axis] for axis, scale in vectors])


def causal(frames: list[torch.Tensor], **settings):
    policy = METHODS["causal_mem"](**settings)
    for i, embeds in enumerate(frames):
        policy.observe(VisualTokens(embeds, (1, 2, 2), i * 0.5, i), None)
    return policy


def test_causal_mem_by_hand():
    """An empty basis leaves the norms, 1 2 1 1 (mean 1.25): row 1 is best, the others become their
    mean. Frame 1 adds only direction 3. Frame 2 stays whole: 2 + 2 + 4 = 8."""
    policy = causal([
        rows((0, 1), (1, 2), (2, 1), (2, 1)),
        rows((0, 1), (1, 1), (2, 1), (3, 1)),
        rows((0, 1), (0, 1), (0, 1), (0, 1)),
    ], budget=8)
    first, second, newest = policy.chosen("")
    assert first.places.tolist() == [0, 1] and second.places.tolist() == [0, 3]
    torch.testing.assert_close(first.embeds[0], torch.tensor([1, 0, 2, 0, 0, 0, 0, 0]) / 3)
    torch.testing.assert_close(second.embeds[1], torch.eye(8)[3])
    assert len(newest.embeds) == 4
    torch.testing.assert_close(policy._held[0].score[1], torch.tensor(2 / 1.25))
    assert policy._held[1].behind == 3


def test_the_basis_stays_orthonormal_and_within_its_rank():
    draw = torch.Generator().manual_seed(1)
    policy = causal([torch.randn(4, 8, generator=draw) for _ in range(50)], rank=3)
    vectors = policy._basis.vectors
    assert vectors.shape == (3, 8)
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(3), atol=1e-4, rtol=0)


def test_what_was_new_outlives_what_was_seen_often():
    draw = torch.Generator().manual_seed(2)
    frames = [torch.eye(8)[0] + 0.02 * torch.randn(4, 8, generator=draw) for _ in range(40)]
    frames[10] = frames[10] + rows((3, 1), (3, 1), (4, 1), (5, 1))
    policy = causal(frames, budget=16)
    assert 10 in [tokens.frame for tokens in policy.chosen("")]
    assert sum(len(tokens.embeds) for tokens in policy.chosen("")) <= 16


def test_a_frame_is_left_as_it_came():
    tokens = frame_of(0, 0)
    policy = METHODS["causal_mem"](budget=6)
    policy.observe(tokens, None)
    for frame in range(1, 6):
        policy.observe(frame_of(frame, frame), None)
    assert tokens.embeds.equal(torch.eye(8)[[0] * 4])
