"""Tiny models with random weights, in the architectures of the real ones, built offline.

`build(kind)` gives the same weights every time, so a stock copy can stand beside an adapter.
"""
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from torch import Tensor

from models.hf import HFVideoLLM
from models.qwen_vl import Qwen3VL, Qwen25VL
from models.smolvlm import SmolVLM
from streamassist.types import Frame

ADAPTERS: dict[str, type[HFVideoLLM]] = {
    "smolvlm": SmolVLM,
    "qwen2_5_vl": Qwen25VL,
    "qwen3_vl": Qwen3VL,
}
KINDS = list(ADAPTERS)
SEED = 1

_WORDS = [
    "the quick brown fox jumps over the lazy dog. what do you see in this video frame? "
    "a red box moves to the left. yes, no, Yes, No. Frame from 00:12: <1.5 seconds>"
] * 5
_QWEN_TOKENS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>",
    "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
]
_SMOL_TOKENS = [
    "<|endoftext|>", "<|im_start|>", "<end_of_utterance>",
    "<fake_token_around_image>", "<global-img>", "<image>",
]
# The structure of the published templates: who speaks, where turns end, how a picture is written.
_QWEN_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message.role + '\\n' -}}"
    "{%- for part in message.content -%}"
    "{%- if part.type == 'image' -%}{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}"
    "{%- else -%}{{- part.text -}}{%- endif -%}"
    "{%- endfor -%}"
    "{{- '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
_SMOL_TEMPLATE = (
    "<|im_start|>"
    "{%- for message in messages -%}"
    "{{- message.role | capitalize -}}"
    "{{- ':' if message.content[0].type == 'image' else ': ' -}}"
    "{%- for part in message.content -%}"
    "{{- '<image>' if part.type == 'image' else part.text -}}"
    "{%- endfor -%}"
    "{{- '<end_of_utterance>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- 'Assistant:' -}}{%- endif -%}"
)
_TEXT = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}
_MROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
_TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 64}


@lru_cache(maxsize=2)
def tokenizer(family: str) -> Any:
    """A byte-level BPE with the control tokens and the chat template of "qwen" or "smol"."""
    tokens, template, end = (
        (_QWEN_TOKENS, _QWEN_TEMPLATE, "<|im_end|>")
        if family == "qwen"
        else (_SMOL_TOKENS, _SMOL_TEMPLATE, "<end_of_utterance>")
    )
    bpe = Tokenizer(BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=tokens, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(_WORDS, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=end,
        pad_token="<|endoftext|>",
        chat_template=template,
    )


def _qwen_ids() -> dict[str, int]:
    words = tokenizer("qwen")
    names = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    return {key: words.convert_tokens_to_ids(name) for key, name in names.items()}


def _qwen2_5_vl() -> transformers.PreTrainedModel:
    """Windows of 2 x 2 merged tokens in two of four vision layers."""
    vision = {**_TOWER, "depth": 4, "window_size": 56, "fullatt_block_indexes": [1, 3]}
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            **_TEXT, "rope_parameters": dict(_MROPE), "bos_token_id": 0, "eos_token_id": 2
        },
        vision_config=vision,
        **_qwen_ids(),
    )
    return transformers.Qwen2_5_VLForConditionalGeneration(config)


def _qwen3_vl() -> transformers.PreTrainedModel:
    """Three DeepStack levels."""
    vision = {
        **_TOWER, "depth": 4, "num_position_embeddings": 256, "deepstack_visual_indexes": [0, 1, 2]
    }
    rope = {**_MROPE, "mrope_interleaved": True}
    config = transformers.Qwen3VLConfig(
        text_config={**_TEXT, "head_dim": 16, "rope_parameters": rope},
        vision_config=vision,
        **_qwen_ids(),
    )
    return transformers.Qwen3VLForConditionalGeneration(config)


def _smolvlm() -> transformers.PreTrainedModel:
    """16 tokens a frame of 64 x 64."""
    words = tokenizer("smol")
    config = transformers.SmolVLMConfig(
        text_config={**_TEXT, "model_type": "llama", "pad_token_id": 0, "bos_token_id": 1},
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 8,
        },
        scale_factor=2,
        image_token_id=words.convert_tokens_to_ids("<image>"),
        pad_token_id=0,
    )
    return transformers.SmolVLMForConditionalGeneration(config)


_BUILDERS: dict[str, Callable[[], transformers.PreTrainedModel]] = {
    "smolvlm": _smolvlm,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
}


def build(kind: str) -> tuple[transformers.PreTrainedModel, Any]:
    """A stock model in float32 and its tokenizer. Weights are large enough for lively logits."""
    model = _BUILDERS[kind]()
    generator = torch.Generator().manual_seed(SEED)
    for weight in model.parameters():
        if weight.ndim >= 2:
            scale = 1.0 / weight[0].numel() ** 0.5
            weight.data = torch.randn(weight.shape, generator=generator) * scale
    model.generation_config.eos_token_id = None
    return model.eval(), tokenizer("smol" if kind == "smolvlm" else "qwen")


def adapter(kind: str) -> HFVideoLLM:
    """The adapter around the same weights as `build(kind)`."""
    return ADAPTERS[kind](*build(kind), name=kind)


def frames(count: int, size: tuple[int, int] = (56, 84), fps: float = 2.0) -> list[Frame]:
    """Random pictures of `size` (H, W); the same ones on every call."""
    noise = np.random.default_rng(SEED)
    return [
        Frame(noise.integers(0, 256, (*size, 3), dtype=np.uint8), i / fps, i)
        for i in range(count)
    ]


def pixel_inputs(llm: HFVideoLLM, shown: list[Frame]) -> dict[str, Tensor]:
    """What a stock model takes for the frames, made with the adapter's own preprocessing."""
    made = [llm.pixels(frame.image, llm.device) for frame in shown]
    if isinstance(llm, SmolVLM):
        return {"pixel_values": torch.stack(made)[None]}
    grids = torch.tensor([(1, *size) for _, size in made])
    return {"pixel_values": torch.cat([patches for patches, _ in made]), "image_grid_thw": grids}
