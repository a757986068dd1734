"""SmolVLM2 (arXiv 2504.05299): a fixed number of tokens a frame, positions on one axis.

Frames are fed as the model's own video format has them: the time as text, then one undivided
square picture between its wrapper tokens.
"""
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from models.hf import LIVE_SYSTEM, HFVideoLLM
from models.preprocess import SquareFrames, colour
from models.reuse.families import smol_tower
from streamassist.types import Frame, VisualTokens

HALF = (0.5, 0.5, 0.5)
INTRO = "You are provided the following series of frames from a live video."
OUTRO = "\n\n"   # between the last frame and the question


class SmolVLM(HFVideoLLM):
    model_class = "SmolVLMForConditionalGeneration"
    image_token = "<image>"
    image_text = "<image>"
    system = LIVE_SYSTEM
    frame_side = 384   # of 512 x 384, the video format's longer edge
    frames_content = (
        {"type": "text", "text": INTRO},
        {"type": "image"},
        {"type": "text", "text": OUTRO},
    )

    def prepare(self, settings: Mapping[str, Any]) -> None:
        config = self.model.config
        side = config.vision_config.image_size
        video = settings.get("video_sampling", {}).get("video_size", {})
        self.pixels = SquareFrames(
            edge=video.get("longest_edge", side),
            side=side,
            mean=colour(settings, "image_mean", HALF),
            std=colour(settings, "image_std", HALF),
        )
        self._across = side // config.vision_config.patch_size // config.scale_factor
        self.tokens_per_frame = self._across**2
        core, pixels = self.model.model, self.pixels
        self.tower = smol_tower(core.vision_model, pixels.mean, pixels.std)
        names = ("<fake_token_around_image>", "<global-img>")
        self._fake, self._global = self.tokenizer.convert_tokens_to_ids(names)

    @torch.inference_mode()
    def encode(self, frames: Sequence[Frame]) -> list[VisualTokens]:
        """All frames in one pass of the vision tower."""
        if not frames:
            return []
        pixels = torch.stack([self.pixels(f.image, self.device) for f in frames])
        return [
            VisualTokens(
                embeds=embeds,
                grid=(1, self._across, self._across),
                pts=frame.pts,
                frame=frame.index,
                before=(*self.encode_text(time_text(frame.pts)), self._fake, self._global),
                after=(self._fake,),
            )
            for frame, embeds in zip(frames, self._features(pixels), strict=True)
        ]

    def _features(self, pixels: Tensor) -> Tensor:
        """pixels (B, 3, side, side) -> (B, N, D).

        The model's `get_image_features` takes a picture of nothing but zeros for padding and
        leaves it out, so the tower and the connector are called here one after the other.
        """
        core, patch = self.model.model, self.model.config.vision_config.patch_size
        across = pixels.shape[-1] // patch
        everywhere = torch.ones(
            len(pixels), across, across, dtype=torch.bool, device=pixels.device
        )
        seen = core.vision_model(
            pixel_values=pixels.to(core.vision_model.dtype), patch_attention_mask=everywhere
        )
        return core.connector(seen.last_hidden_state)


def time_text(pts: float) -> str:
    """The line before a frame; `pts` is in seconds."""
    minutes, seconds = divmod(int(pts), 60)
    return f"\nFrame from {minutes:02d}:{seconds:02d}:"
