"""Two frames read as one by the Qwen towers."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.pairs import FramePair, paired, patches_of
from streamassist.errors import StreamAssistError
from streamassist.types import Frame
from tests.streaming import Stream
from tests.tiny_models import adapter, frames

KINDS = pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl"])


def pair_of(earlier: Frame, frame: Frame) -> FramePair:
    return FramePair(frame.image, frame.pts, frame.index, earlier.image)


@KINDS
def test_a_pair_of_two_equal_frames_equals_the_frame_alone(kind):
    llm, (one, two) = adapter(kind), frames(2)
    (alone,), (same,), (both,) = (llm.encode([f]) for f in (one, pair_of(one, one),
                                                            pair_of(one, two)))
    torch.testing.assert_close(same.embeds, alone.embeds, atol=1e-5, rtol=0)
    assert same.grid == alone.grid == both.grid and (both.pts, both.frame) == (two.pts, 1)
    assert (both.embeds - alone.embeds).abs().max() > 0.1
    for level, other in zip(same.deepstack, alone.deepstack, strict=True):
        torch.testing.assert_close(level, other, atol=1e-5, rtol=0)


@KINDS
def test_the_two_frames_lie_in_the_layers_of_the_tower_s_patches(kind):
    """The patch embedding is a convolution over both frames."""
    llm, (one, two) = adapter(kind), frames(2, (64, 96) if kind == "qwen3_vl" else (56, 84))
    patches, (gh, gw) = patches_of(llm.pixels, pair_of(one, two), llm.device)
    stem, patch = llm.model.model.visual.patch_embed, llm.pixels.patch
    volume = torch.stack([_normal(llm, f) for f in (one, two)], 1)     # (3, 2, H, W)
    assert volume.shape[2:] == (gh * patch, gw * patch)
    with torch.inference_mode():
        wanted = F.conv3d(volume[None], stem.proj.weight, stem.proj.bias, (2, patch, patch))
        wanted = wanted[0, :, 0].unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
        wanted = wanted.permute(1, 3, 2, 4, 0).flatten(0, 3)           # blocks of 2 x 2 together
        torch.testing.assert_close(stem(patches).flatten(0, -2), wanted, atol=1e-4, rtol=0)


def _normal(llm, frame: Frame) -> torch.Tensor:
    image = torch.from_numpy(frame.image).permute(2, 0, 1) / 255
    mean, std = (torch.tensor(c)[:, None, None] for c in (llm.pixels.mean, llm.pixels.std))
    return (image - mean) / std


@KINDS
def test_pairs_stills_and_batches_mix(kind):
    llm, shown = adapter(kind), frames(5)
    stream = list(paired(shown))
    assert [type(f) for f in stream] == [FramePair, FramePair, Frame]
    assert [f.index for f in stream] == [1, 3, 4] and stream[1].earlier is shown[2].image
    for tokens, frame in zip(llm.encode(stream), stream, strict=True):
        torch.testing.assert_close(tokens.embeds, llm.encode([frame])[0].embeds, atol=1e-5, rtol=0)
    run = Stream.open(llm)
    run.show(stream)
    assert run.cache.frames() == [1, 3, 4]


def test_a_pair_of_two_sizes_is_refused():
    frame = frames(1)[0]
    with pytest.raises(StreamAssistError, match="pairs of one size"):
        adapter("qwen3_vl").encode([FramePair(frame.image, 0.0, 0, np.zeros((8, 8, 3), np.uint8))])
