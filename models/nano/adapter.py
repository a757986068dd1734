"""nano at run time: EfficientNet-Lite0, our projector, SmolLM2-135M with our LoRA merged in.

The words around the frames are exactly those it was trained on (`prompts`): the opening, frames
back to back, then the question. It was trained without earlier turns, so it is shown none.
"""
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from models.checkpoint import load_tokenizer, load_weights
from models.hf import HFVideoLLM
from models.nano import prompts
from models.nano.backbone import (
    INPUT_SIZE,
    EfficientNetLite0,
    normalize,
    pooled_tokens,
)
from models.nano.network import (
    MOST_FRAMES,
    NUM_TOKENS,
    TOKEN_SIDE,
    Projector,
    corrected,
    load_backbone,
    lora_sites,
)
from models.nano.rounding import round_linears, unpacked
from models.nano.weights import OWN_WEIGHTS, sha256_of, text_model_dir
from models.packed import pack_linears
from streamassist.errors import StreamAssistError
from streamassist.types import Chunk, Frame, VisualTokens

GRID = (1, TOKEN_SIDE, TOKEN_SIDE)
VERSION_ONE = {"input_size": 224, "frames_at_once": 1}   # of weights that do not say


class Nano(HFVideoLLM):
    """A VideoLLM small enough for two CPU cores."""

    model_class = "LlamaForCausalLM"
    image_token = "<|endoftext|>"   # only holds the place of a visual row
    history_turns = 0
    tokens_per_frame = NUM_TOKENS
    frame_side = INPUT_SIZE
    describe_prompt = prompts.DESCRIBE
    note = (
        "nano is a small model that runs on this computer. It describes everyday scenes in a "
        "sentence and answers short questions. In our tests it was right in 86 % of balanced yes "
        "or no questions and 59 % of short ones, so do not rely on it, least of all for actions, "
        "counts, text, small and rare things. A larger model (--model qwen3-vl) sees much more. "
        "nano's weights are for research and education only."
    )

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Any,
        backbone: EfficientNetLite0,
        projector: Projector,
        flag: nn.Linear | None = None,
        attention: str = "auto",
        input_size: int = INPUT_SIZE,
        frames_at_once: int = MOST_FRAMES,
    ):
        super().__init__(model, tokenizer, "nano", attention)
        self.backbone, self.projector, self.flag = backbone, projector, flag
        self.input_size, self.frames_at_once = input_size, frames_at_once
        end = tokenizer.convert_tokens_to_ids(prompts.END)
        self.stop_ids |= {end}
        if flag is not None:   # both were trained at once
            self.choice_ids = {"silent": end}
        self._last_row: Tensor | None = None
        model.lm_head.register_forward_pre_hook(self._note_last_row)

    @classmethod
    def load(
        cls,
        device: torch.device | str = "cpu",
        attention: str = "auto",
        state: Mapping[str, Tensor] | None = None,
        bits: int | None = None,
        decode: bool = True,
    ) -> "Nano":
        """Everything from verified files; `state` (as training exports it) replaces ours, and
        `bits` rounds the layers of the text model, to see what that costs. With `decode` words are
        said with 8-bit weights on a CPU, in 0.6 of the time (docs/results.md)."""
        state = load_own_weights() if state is None else unpacked(state)
        device, folder = torch.device(device), text_model_dir()
        model = load_weights(cls.model_class, folder, device)
        merge_lora(model, state)
        if bits:
            round_linears(model.model, bits)
        pack_linears(model, decode)
        projector = make_projector(state, model.config.hidden_size).to(device)
        backbone = load_backbone(model.dtype).to(device)
        flag = make_flag(state, model)
        tokenizer = load_tokenizer(folder)
        sizes = (int(state.get(name, first)) for name, first in VERSION_ONE.items())
        return cls(model, tokenizer, backbone, projector, flag, attention, *sizes)

    def _note_last_row(self, _: nn.Module, hidden: tuple[Tensor, ...]) -> None:
        self._last_row = hidden[0][0, -1].clone()

    @property
    def p_silence(self) -> float | None:
        """What the flag says of the last row forwarded; None for weights without a flag."""
        if self.flag is None or self._last_row is None:
            return None if self.flag is None else 1.0
        with torch.inference_mode():
            return float(torch.sigmoid(-self.flag(self._last_row.float())))

    # ------------------------------------------------------------ frames

    def encode(self, frames: Sequence[Frame]) -> list[VisualTokens]:
        if not frames:
            return []
        with torch.inference_mode():
            pixels = torch.cat([squash(f.image, self.device, self.input_size) for f in frames])
            features = self.features(pixels)
            embeds = self.projector(features).to(self.dtype)
        return [
            VisualTokens(rows.clone(), GRID, frame.pts, frame.index, signature=seen.clone())
            for rows, seen, frame in zip(embeds, features, frames, strict=True)
        ]

    def features(self, pixels: Tensor) -> Tensor:
        """(B, 3, 288, 288) in the backbone's range -> (B, 16, 1280)."""
        kind = next(self.backbone.parameters()).dtype
        maps = self.backbone(pixels.to(kind, memory_format=torch.channels_last))
        return pooled_tokens(maps, TOKEN_SIDE)

    def inputs(self, chunk: Chunk) -> dict[str, Any]:
        return {"inputs_embeds": self.rows_of(chunk)[None]}

    # ------------------------------------------------------------ words

    def prompt_ids(self) -> list[int]:
        return self.encode_text(prompts.OPEN)

    def question_ids(self, question: str, history: Sequence[tuple[str, str]] = ()) -> list[int]:
        """The question as trained; `history` is not used."""
        return self.encode_text(self.user_text(question) + prompts.CLOSE)

    def yes_no_text(self, statement: str) -> str:
        return prompts.yes_no(statement)


def squash(image: np.ndarray, device: torch.device, side: int = INPUT_SIZE) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, side, side) in the backbone's range, the aspect not kept.

    On a CPU torch resizes bytes with Pillow's own arithmetic, as in training.
    """
    pixels = torch.from_numpy(np.array(image)).to(device).permute(2, 0, 1)[None]
    if device.type != "cpu":
        pixels = pixels.float()
    return normalize(F.interpolate(pixels, (side, side), mode="bilinear", antialias=True))


# ---------------------------------------------------------------- weights

def load_own_weights(file: Path = OWN_WEIGHTS) -> dict[str, Tensor]:
    """The trained tensors, once their SHA-256 matches the one recorded beside them."""
    record = file.with_suffix(".sha256")
    mend = f"Restore it with `git checkout {file.name}`, or train it: python -m models.nano.train."
    for needed in (file, record):
        if not needed.is_file():
            raise StreamAssistError(f"The model file {needed} is missing. {mend}")
    if sha256_of(file) != record.read_text()[:64]:
        raise StreamAssistError(
            f"The model file {file} does not have the SHA-256 recorded in {record.name}, "
            f"so it is not loaded. {mend}"
        )
    return unpacked(load_file(file))


def merge_lora(model: PreTrainedModel, state: Mapping[str, Tensor]) -> None:
    """W + scale * b @ a in place, in float32, for every corrected layer."""
    with torch.no_grad():
        for layer, parent, name in lora_sites(model):
            weight = getattr(parent, name).weight
            a, b = (_tensor(state, f"lora.{layer}.{name}.{x}").to(weight.device) for x in "ab")
            weight.copy_(corrected(weight, a, b))


def make_projector(state: Mapping[str, Tensor], dim: int) -> Projector:
    projector = Projector(dim)
    wanted = {key: _tensor(state, f"projector.{key}") for key in projector.state_dict()}
    projector.load_state_dict(wanted)
    return projector.eval().requires_grad_(False)


def make_flag(state: Mapping[str, Tensor], model: PreTrainedModel) -> nn.Linear | None:
    """What tells news by the hidden state of a frame's last token; older weights have none."""
    if "flag.weight" not in state:
        return None
    flag = nn.Linear(model.config.hidden_size, 1)
    flag.load_state_dict({key: _tensor(state, f"flag.{key}") for key in ("weight", "bias")})
    return flag.to(model.device, torch.float32).requires_grad_(False)


def _tensor(state: Mapping[str, Tensor], key: str) -> Tensor:
    if key not in state:
        raise StreamAssistError(
            f"nano's weights lack {key}; train again: python -m models.nano.train."
        )
    return state[key]
