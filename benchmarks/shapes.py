"""Models in the shapes of the published ones, with random weights on a GPU: what is timed there.

Random weights say nothing about answers, only about time: shapes, types and cache sizes are the
real ones. Beside a time stands its dense floor: the multiplications of tower and decoder for every
token, at the rate at which this GPU multiplies large matrices here and now. What cannot run for
want of a GPU, a module or memory is "not run" with the reason, never passed.
"""
import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SIDE = 448              # of the pictures; Qwen2.5-VL makes 256 tokens of a pair of them
REPEATS = 10
MARKS = {
    "image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>",
}

_QWEN25_TOWER = {
    "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
    "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31], "patch_size": 14,
}
_QWEN25_ROPE = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
_QWEN3_TOWER = {
    "num_heads": 16, "num_position_embeddings": 2304, "patch_size": 16,
}
_SMALL_TOWER = {
    **_QWEN3_TOWER, "depth": 24, "hidden_size": 1024, "intermediate_size": 4096,
    "deepstack_visual_indexes": [5, 11, 17],
}
_LARGE_TOWER = {
    **_QWEN3_TOWER, "depth": 27, "hidden_size": 1152, "intermediate_size": 4304,
    "deepstack_visual_indexes": [8, 16, 24],
}
_QWEN3_TEXT = {
    "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
    "rope_parameters": {
        "rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20],
        "mrope_interleaved": True,
    },
}


def _qwen25(gb: int, tie: bool, **text: int) -> dict[str, Any]:
    return {
        "kind": "qwen2_5_vl", "config": "Qwen2_5_VLConfig", "gb": gb, "tie": tie,
        "text": {**text, "rope_parameters": _QWEN25_ROPE},
        "vision": {**_QWEN25_TOWER, "out_hidden_size": text["hidden_size"]},
    }


def _qwen3(gb: int, tie: bool, tower: dict[str, Any], **text: int) -> dict[str, Any]:
    return {
        "kind": "qwen3_vl", "config": "Qwen3VLConfig", "gb": gb, "tie": tie,
        "text": {**_QWEN3_TEXT, **text},
        "vision": {**tower, "out_hidden_size": text["hidden_size"]},
    }


# gb: free memory that the weights and a cache of 32k tokens want; the most telling first
SHAPES: dict[str, dict[str, Any]] = {
    "Qwen2.5-VL-7B": _qwen25(
        24, False, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28,
        num_attention_heads=28, num_key_value_heads=4, vocab_size=152064,
    ),
    "Qwen3-VL-8B": _qwen3(
        30, False, _LARGE_TOWER, hidden_size=4096, intermediate_size=12288, num_hidden_layers=36,
        num_attention_heads=32,
    ),
    "Qwen3-VL-4B": _qwen3(
        20, True, _SMALL_TOWER, hidden_size=2560, intermediate_size=9728, num_hidden_layers=36,
        num_attention_heads=32,
    ),
    "Qwen2.5-VL-3B": _qwen25(
        12, True, hidden_size=2048, intermediate_size=11008, num_hidden_layers=36,
        num_attention_heads=16, num_key_value_heads=2, vocab_size=151936,
    ),
    "Qwen3-VL-2B": _qwen3(
        14, True, _SMALL_TOWER, hidden_size=2048, intermediate_size=6144, num_hidden_layers=28,
        num_attention_heads=16,
    ),
}
# TFLOP a frame (tower, prefill) as estimated beforehand, in pairs of 448 x 448; others are counted
ESTIMATED = {"Qwen2.5-VL-7B": (0.65, 1.8)}


# ---------------------------------------------------------------- models

def build(name: str, device: str = "cuda") -> Any:
    """The adapter around random bfloat16 weights of that shape."""
    import torch
    import transformers

    sys.path.insert(0, str(ROOT / "tests"))
    from tiny_models import ADAPTERS, tokenizer

    words = tokenizer("qwen")
    shape = SHAPES[name]
    text = {**shape["text"], "max_position_embeddings": 128000}
    config = getattr(transformers, shape["config"])(
        text_config=text, vision_config=shape["vision"], tie_word_embeddings=shape["tie"],
        **{key: words.convert_tokens_to_ids(token) for key, token in MARKS.items()},
    )
    adapter = ADAPTERS[shape["kind"]]
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            model = getattr(transformers, adapter.model_class)(config)
    finally:
        torch.set_default_dtype(before)
    return adapter(model, words, name=name)


def unable(name: str | None = None) -> str | None:
    """Why nothing, or not this shape, can be measured here; None when it can."""
    try:
        import numpy  # noqa: F401  (absence is what is asked)
        import torch
        import transformers  # noqa: F401
    except ImportError as error:
        return f"{error.name} is missing"
    if not torch.cuda.is_available():
        return "no CUDA device"
    free_gb = torch.cuda.mem_get_info()[0] / 1e9
    if name and free_gb < SHAPES[name]["gb"]:
        return f"{free_gb:.0f} GB of GPU memory are free, {SHAPES[name]['gb']} are needed"
    return None


def release() -> None:
    """Give back what the GPU's memory holds of a model that is gone."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def header() -> dict[str, Any]:
    import torch
    import transformers

    return {
        "device": torch.cuda.get_device_name(), "torch": torch.__version__,
        "transformers": transformers.__version__, "dtype": "bfloat16", "attention": "auto",
    }


# ---------------------------------------------------------------- time

def drain() -> None:
    """Wait until the GPU has done what it was given."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def median_ms(action: Callable[[], Any], repeats: int = REPEATS) -> float:
    """The median of `repeats` timed calls after one that warms up; the GPU's queue is drained."""
    times = []
    for _ in range(repeats + 1):
        drain()
        begin = time.perf_counter()
        action()
        drain()
        times.append(1000 * (time.perf_counter() - begin))
    return round(statistics.median(times[1:]), 2)


def matmul_tflops(size: int = 8192) -> float:
    """10**12 operations a second in a product of two square bfloat16 matrices, measured."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    a, b = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))
    return 2 * size**3 / 1e9 / max(median_ms(lambda: a @ b, 20), 1e-3)


def counted_tflop(name: str) -> tuple[float, float]:
    """(tower, prefill) of a frame, half a pair of `SIDE`: two operations a weight and row."""
    text, vision = SHAPES[name]["text"], SHAPES[name]["vision"]
    gated = SHAPES[name]["kind"] == "qwen2_5_vl"
    wide, inner = vision["hidden_size"], vision["intermediate_size"]
    tower = vision["depth"] * (4 * wide * wide + (3 if gated else 2) * wide * inner)
    patches = (SIDE // vision["patch_size"]) ** 2
    hidden, heads = text["hidden_size"], text["num_attention_heads"]
    dim = text.get("head_dim", hidden // heads)
    attention = 2 * hidden * dim * (heads + text["num_key_value_heads"])
    decoder = text["num_hidden_layers"] * (attention + 3 * hidden * text["intermediate_size"])
    return tower * patches / 1e12, decoder * (patches // 4) / 1e12


def floor_ms(name: str, tflops: float, kept: float = 1.0) -> dict[str, float]:
    """The least a frame of a pair can take, with that share of its tokens prefilled."""
    tower, prefill = ESTIMATED.get(name) or counted_tflop(name)
    return {"encode": 1000 * tower / tflops, "prefill": 1000 * kept * prefill / tflops}


# ---------------------------------------------------------------- pictures

def pictures(count: int, fps: float) -> Iterator[Any]:
    """Frames of `SIDE` x `SIDE`, a pattern that drifts: each is unlike the one before."""
    import numpy as np

    from streamassist.types import Frame

    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    for index in range(count):
        yield Frame(np.roll(noise, 5 * index, 1), index / fps, index)
