"""The two memories of Flash-VStream: clustering, the split of the budget, key frames."""
import pytest
import torch

from memory.looks import chosen, stream
from streamassist.memory import METHODS
from streamassist.memory.clusters import weighted_kmeans

POINTS = torch.tensor([[0.0], [1.0], [10.0], [11.0]])


@pytest.mark.parametrize("start", [[0, 2], [0, 1]])
def test_kmeans_by_hand(start):
    """From 0 and 1 the second centroid goes to 22/3 first, and then loses the point at 1."""
    label = weighted_kmeans(POINTS, torch.ones(4), torch.tensor(start))
    assert label.tolist() == [0, 0, 1, 1]


def test_weights_pull_a_centroid():
    """4 lies with 6 and 0 heavy at 1 (mean of 0 (x9) and 4 is 0.4, so 4 goes to 6)."""
    points = torch.tensor([[0.0], [4.0], [7.5]])
    start = torch.tensor([0, 2])
    even = weighted_kmeans(torch.tensor([[0.0], [3.7], [7.5]]), torch.ones(3), start)
    assert even.tolist() == [0, 0, 1]
    assert weighted_kmeans(points, torch.tensor([9.0, 1.0, 1.0]), start).tolist() == [0, 1, 1]


@pytest.mark.parametrize(("name", "split"), [("flash_vstream", (20, 44)), ("flash_star", (3, 112))])
def test_how_the_budget_is_split_for_frames_of_sixteen_tokens(name, split):
    assert METHODS[name]().counts(16, 4, 512 - 16) == split
    assert METHODS[name]().counts(256, 64, 256)[1] >= 1


def test_flash_vstream_by_hand():
    """Room for a key frame and two maps. 0 1 2 look alike and become one cluster of weight 3 at
    their mean time; the key frame is the first of those nearest to it."""
    policy, _ = stream("flash_vstream", [0, 0, 0, 1], budget=10, chunk=1)
    assert policy._weights == [3.0, 1.0]
    assert chosen(policy) == [(0, 4), (0, 1), (3, 4)]
    assert [tokens.pts for tokens in policy.chosen("")] == [0.0, 0.5, 1.5]


def test_flash_star_by_hand():
    """Half of 16 tokens is room for two key frames, the rest for 8 maps. Nine frames of one look
    become one cluster, and so do the next nine at the seventeenth; the key frames are the first
    ones nearest to these two."""
    policy, _ = stream("flash_star", [0] * 9 + [1] * 9 + [2, 4], budget=20, chunk=1)
    assert [tokens.frame for tokens, _ in policy._keys] == [0, 9]
    assert policy._weights[0] == 9.0 and sum(policy._weights) == 20
    assert chosen(policy)[-1] == (19, 4) and len(policy._maps) <= 8


def test_a_cluster_lies_at_the_weighted_mean():
    policy, _ = stream("flash_star", [0, 0, 0], budget=5, key_frames=0, chunk=1)
    (only,) = policy._maps
    assert policy._weights == [3.0] and only.pts == pytest.approx(0.5)
    assert torch.allclose(only.embeds[0], torch.eye(8)[0])
