"""Qwen2.5-VL (arXiv 2502.13923) and Qwen3-VL (arXiv 2511.21631).

Each frame is fed as a still picture of its own, between <|vision_start|> and <|vision_end|>, so a
live stream needs no frame pairs; a `models.pairs.FramePair` is read as one picture two frames deep.
Its rows have three positions (M-RoPE): time stays at the frame's start, height and width count from
there.
"""
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers.vision_utils import get_vision_window_index

from models.hf import LIVE_SYSTEM, HFVideoLLM
from models.pairs import patches_of
from models.preprocess import Colour, PatchFrames, colour
from models.reuse.families import qwen_tower
from streamassist.types import Frame, VisualTokens

FRAME_PIXELS = 448 * 448   # resized frames hold at most this many pixels
MIN_PIXELS = 56 * 56       # and at least this many


class QwenVL(HFVideoLLM):
    """What the two have in common; a subclass names its class, colours and words before a frame."""

    image_token = "<|image_pad|>"
    image_text = "<|vision_start|><|image_pad|><|vision_end|>"
    system = LIVE_SYSTEM
    frame_side = round((FRAME_PIXELS * 3 / 4) ** 0.5)   # of 517 x 388
    mean: ClassVar[Colour]
    std: ClassVar[Colour]

    def prepare(self, settings: Mapping[str, Any]) -> None:
        vision = self.model.config.vision_config
        self.pixels = PatchFrames(
            patch=vision.patch_size,
            merge=vision.spatial_merge_size,
            temporal=vision.temporal_patch_size,
            mean=colour(settings, "image_mean", self.mean),
            std=colour(settings, "image_std", self.std),
            min_pixels=MIN_PIXELS,
            max_pixels=FRAME_PIXELS,
        )
        self.tokens_per_frame = FRAME_PIXELS // (vision.patch_size * self.pixels.merge) ** 2
        visual, pixels = self.model.model.visual, self.pixels
        self.tower = qwen_tower(visual, pixels.mean, pixels.std, self.patch_order)
        names = ("<|vision_start|>", "<|vision_end|>")
        self._opens, self._closes = self.tokenizer.convert_tokens_to_ids(names)

    @torch.inference_mode()
    def encode(self, frames: Sequence[Frame]) -> list[VisualTokens]:
        """All frames in one pass of the vision tower, which keeps them apart."""
        if not frames:
            return []
        made = (patches_of(self.pixels, frame, self.device) for frame in frames)
        patches, sizes = zip(*made, strict=True)
        grids = torch.tensor([(1, *size) for size in sizes], device=self.device)
        out = self.model.get_image_features(torch.cat(patches), grids, return_dict=True)
        levels = getattr(out, "deepstack_features", None) or []
        return [
            VisualTokens(
                embeds=out.pooler_output[i],
                grid=self._merged(size),
                pts=frame.pts,
                frame=frame.index,
                before=(*self.encode_text(self.time_text(frame.pts)), self._opens),
                after=(self._closes,),
                deepstack=tuple(level[i] for level in levels),
            )
            for i, (frame, size) in enumerate(zip(frames, sizes, strict=True))
        ]

    def _merged(self, size: tuple[int, int]) -> tuple[int, int, int]:
        return 1, size[0] // self.pixels.merge, size[1] // self.pixels.merge

    def patch_order(self, grids: Tensor) -> Tensor | None:
        """How the tower sorts the patches of grids (B, 3): their numbers (N,); None: not at all."""
        return None

    def time_text(self, pts: float) -> str:
        """What stands before a frame; `pts` is in seconds."""
        return ""

    def visual_layout(self, grid: tuple[int, int, int]) -> tuple[Tensor, int]:
        """Offsets (3, N) for time, height, width; a frame takes max(h, w) positions."""
        _, height, width = grid
        rows = torch.arange(height).repeat_interleave(width)
        columns = torch.arange(width).repeat(height)
        return torch.stack((torch.zeros_like(rows), rows, columns)), max(height, width)


class Qwen25VL(QwenVL):
    """M-RoPE frequencies in blocks; most layers of the vision tower attend in windows."""

    model_class = "Qwen2_5_VLForConditionalGeneration"
    mean = (0.48145466, 0.4578275, 0.40821073)
    std = (0.26862954, 0.26130258, 0.27577711)

    def patch_order(self, grids: Tensor) -> Tensor:
        """Window by window; the patches of a merged token stay together."""
        vision, merge = self.model.config.vision_config, self.pixels.merge
        windows, _ = get_vision_window_index(
            grids, merge, vision.window_size, vision.patch_size
        )
        block = torch.arange(merge * merge, device=windows.device)
        return (windows[:, None] * merge * merge + block).flatten().to(grids.device)


class Qwen3VL(QwenVL):
    """Interleaved M-RoPE, frame times as text, DeepStack rows for the first decoder layers."""

    model_class = "Qwen3VLForConditionalGeneration"
    mrope_interleaved = True
    mean = (0.5, 0.5, 0.5)
    std = (0.5, 0.5, 0.5)

    def time_text(self, pts: float) -> str:
        return f"<{pts:.1f} seconds>"
