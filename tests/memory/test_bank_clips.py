"""VideoStreaming and OmniLive: summaries of clips, and which of them a question recalls."""
import torch

from made_up import frame_tokens
from memory.looks import chosen, stream

SCENES = [0, 0, 3, 3, 1, 1, 2, 2]


def test_video_streaming_recalls_the_planted_clip():
    """Clips of two frames, one chosen: the second, shown with the time of its later frame."""
    policy, cache = stream("video_streaming", SCENES, length=2, recent=1, clips=1, budget=40)
    answer = policy.before_answer(cache, "dog")
    assert answer.frames() == [3, 7] and len(answer) == 8 + 4
    assert policy.evidence() == [(3, 1.0)]
    policy.before_answer(cache, "dog dog cat")
    assert policy.evidence()[0][0] == 3


def test_of_two_neighbouring_clips_most_alike_the_older_leaves():
    """Room for three clips of 8 tokens and one whole frame."""
    policy, _ = stream(
        "video_streaming", [1, 1, 0, 0, 0, 0, 2, 2], length=2, recent=1, budget=28
    )
    assert [[m.frame for m in clip.maps] for clip in policy._clips] == [[0, 1], [4, 5], [6, 7]]


def test_summaries_are_two_by_two():
    policy, _ = stream("video_streaming", [], recent=2)
    for frame in range(3):
        policy.observe(frame_tokens(frame, 4), None)
    assert chosen(policy) == [(1, 12), (1, 16), (2, 16)]
    whole = frame_tokens(0, 4).embeds.view(4, 4, -1)
    torch.testing.assert_close(policy._clips[0].maps[0].embeds[0], whole[:2, :2].mean((0, 1)))


def test_omni_live_clip_is_four_maps_of_averaged_frames():
    policy, _ = stream("omni_live", [0, 3] * 4, length=8, recent=1, budget=60)
    (clip,) = policy._clips
    assert len(clip.maps) == 4 and clip.maps[0].pts == 0.25
    torch.testing.assert_close(clip.maps[0].embeds[0], (torch.eye(8)[0] + torch.eye(8)[3]) / 2)


def test_omni_live_shows_all_clips_in_small_and_those_like_the_question():
    """Three clips of 16 tokens. Against the mean of all, "dog" is like the second alone; "cat" is
    like none, and so all are shown. The overview has a token for each."""
    looks = [0] * 4 + [3] * 4 + [1] * 4
    policy, cache = stream("omni_live", looks, length=4, recent=1, budget=60)
    assert chosen(policy, "dog") == [(0 + 2, 3), (6, 16), (11, 4)]
    overview = policy.chosen("dog")[0]
    torch.testing.assert_close(overview.embeds, torch.eye(8)[[0, 3, 1]])
    assert overview.pts == 0.0
    assert chosen(policy, "cat") == [(2, 3), (2, 16), (6, 16), (10, 16), (11, 4)]
    policy.before_answer(cache, "dog")
    assert [frame for frame, _ in policy.evidence()] == [6]


def test_threshold_of_omni_live():
    looks = [0] * 4 + [3] * 4 + [1] * 4
    policy, _ = stream("omni_live", looks, length=4, recent=1, budget=60, threshold=-1)
    assert [frame for frame, _ in chosen(policy, "dog")] == [2, 2, 6, 10, 11]
