"""Frames become the same pixels as in the processors of transformers."""
import json

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from models.preprocess import PatchFrames, SquareFrames, read_settings, smart_size
from models.qwen_vl import FRAME_PIXELS, MIN_PIXELS, Qwen3VL, Qwen25VL
from models.smolvlm import HALF
from streamassist.errors import StreamAssistError

CPU = torch.device("cpu")
SAME = 1e-6   # one grey level is 0.008 or more
SIZES = [(448, 448), (240, 320), (720, 1280), (401, 333), (97, 1000), (61, 59)]


def picture(height: int, width: int) -> np.ndarray:
    """Smooth colours with hard edges and noise: filters overshoot at the edges."""
    noise = np.random.default_rng(height * width)
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 7), np.cos(y / 11), np.sin((x + y) / 23)], -1) * 100 + 128
    waves[height // 3 : height // 2, width // 4 : width // 2] = (255, 0, 255)
    return np.clip(waves + noise.normal(0, 20, waves.shape), 0, 255).astype(np.uint8)


def qwen_frames(cls: type, patch: int) -> PatchFrames:
    return PatchFrames(patch, 2, 2, cls.mean, cls.std, MIN_PIXELS, FRAME_PIXELS)


def qwen_processor(cls: type, patch: int) -> Qwen2VLImageProcessorPil:
    size = {"shortest_edge": MIN_PIXELS, "longest_edge": FRAME_PIXELS}
    return Qwen2VLImageProcessorPil(
        patch_size=patch, image_mean=list(cls.mean), image_std=list(cls.std), size=size
    )


@pytest.mark.parametrize("cls, patch", [(Qwen25VL, 14), (Qwen3VL, 16)])
@pytest.mark.parametrize("height, width", SIZES)
def test_qwen_pixels_are_those_of_the_processor(cls, patch, height, width):
    image = picture(height, width)
    patches, grid = qwen_frames(cls, patch)(image, CPU)
    theirs = qwen_processor(cls, patch)(images=[image], return_tensors="pt")
    assert theirs["image_grid_thw"].tolist() == [[1, *grid]]
    assert (patches - theirs["pixel_values"]).abs().max() <= SAME


@pytest.mark.parametrize("cls, patch", [(Qwen25VL, 14), (Qwen3VL, 16)])
def test_qwen_pixels_without_resizing_are_exact(cls, patch):
    image = picture(8 * patch, 12 * patch)
    patches, grid = qwen_frames(cls, patch)(image, CPU)
    theirs = qwen_processor(cls, patch)(images=[image], return_tensors="pt")
    assert grid == (8, 12)
    assert (patches - theirs["pixel_values"]).abs().max() <= SAME


@pytest.mark.parametrize("height, width", [*SIZES, (321, 123)])
def test_smolvlm_pixels_are_those_of_the_processor(height, width):
    image = picture(height, width)
    processor = SmolVLMImageProcessorPil(
        size={"longest_edge": 512}, max_image_size={"longest_edge": 384}, do_image_splitting=False
    )
    theirs = processor(images=[[image]], return_tensors="pt")["pixel_values"][0, 0]
    assert (SquareFrames(512, 384, HALF, HALF)(image, CPU) - theirs).abs().max() <= SAME


def test_smolvlm_pixels_without_resizing_are_exact():
    image = picture(384, 384)
    processor = SmolVLMImageProcessorPil(
        size={"longest_edge": 384}, max_image_size={"longest_edge": 384}, do_image_splitting=False
    )
    theirs = processor(images=[[image]], return_tensors="pt")["pixel_values"][0, 0]
    assert (SquareFrames(384, 384, HALF, HALF)(image, CPU) - theirs).abs().max() <= SAME


def test_read_only_and_flipped_arrays_are_taken():
    image = picture(64, 48)
    frames = SquareFrames(64, 64, HALF, HALF)
    flipped = image[:, ::-1]
    image.setflags(write=False)
    assert torch.equal(frames(flipped, CPU), frames(np.ascontiguousarray(flipped), CPU))
    assert torch.equal(frames(image, CPU), frames(image.copy(), CPU))


@pytest.mark.parametrize("height, width", [(1, 150), (3000, 4000), (56, 56), (30, 2000)])
def test_frame_size_respects_the_budget(height, width):
    new = smart_size(height, width, 28, MIN_PIXELS, FRAME_PIXELS)
    assert all(side % 28 == 0 and side for side in new)
    assert MIN_PIXELS <= new[0] * new[1] <= FRAME_PIXELS


def test_a_strip_is_refused_in_words():
    with pytest.raises(StreamAssistError, match="too narrow"):
        smart_size(2, 401, 28, MIN_PIXELS, FRAME_PIXELS)


def test_settings_of_a_saved_processor_are_read(tmp_path):
    Qwen2VLImageProcessorPil(image_mean=[0.1, 0.2, 0.3]).save_pretrained(tmp_path)
    assert AutoImageProcessor.from_pretrained(tmp_path, backend="pil").image_mean[2] == 0.3
    assert read_settings(tmp_path)["image_mean"] == [0.1, 0.2, 0.3]


def test_settings_inside_a_processor_config_are_read(tmp_path):
    saved = {"image_processor": {"image_std": [0.4, 0.5, 0.6]}, "image_seq_len": 64}
    (tmp_path / "processor_config.json").write_text(json.dumps(saved))
    assert read_settings(tmp_path) == {"image_std": [0.4, 0.5, 0.6]}


def test_broken_settings_are_told_in_words(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(StreamAssistError, match="copy the checkpoint again"):
        read_settings(tmp_path)


def test_a_folder_without_settings_gives_none(tmp_path):
    assert read_settings(tmp_path) == {}
