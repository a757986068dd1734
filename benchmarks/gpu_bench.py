"""How fast are the adapters on this GPU? Random weights in the shapes of the published models.

`python -m benchmarks.gpu_bench [--seconds 480]` writes OUT/gpu_bench.json (else in `results`)
after each model. A missing module, GPU or too little memory is "not run" with the reason. Random
weights say nothing about answers, only about time: shapes, types and cache sizes are the real ones.
"""
import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CACHE_TOKENS = (2048, 8192, 32768)
FRAME_SIZE = (480, 640)
REPEATS = 10
MARKS = {
    "image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>",
}

_QWEN25_TOWER = {
    "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
    "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31],
}
_QWEN25_ROPE = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
SHAPES: dict[str, dict[str, Any]] = {
    "Qwen2.5-VL-3B": {
        "kind": "qwen2_5_vl", "config": "Qwen2_5_VLConfig", "gb": 9, "tie": True,
        "text": {
            "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36,
            "num_attention_heads": 16, "num_key_value_heads": 2, "vocab_size": 151936,
            "rope_parameters": _QWEN25_ROPE,
        },
        "vision": {**_QWEN25_TOWER, "out_hidden_size": 2048},
    },
    "Qwen3-VL-4B": {
        "kind": "qwen3_vl", "config": "Qwen3VLConfig", "gb": 11, "tie": True,
        "text": {
            "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36,
            "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
            "vocab_size": 151936,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20],
                "mrope_interleaved": True,
            },
        },
        "vision": {
            "depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16,
            "out_hidden_size": 2560, "num_position_embeddings": 2304,
            "deepstack_visual_indexes": [5, 11, 17],
        },
    },
    "Qwen2.5-VL-7B": {
        "kind": "qwen2_5_vl", "config": "Qwen2_5_VLConfig", "gb": 20, "tie": False,
        "text": {
            "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
            "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
            "rope_parameters": _QWEN25_ROPE,
        },
        "vision": {**_QWEN25_TOWER, "out_hidden_size": 3584},
    },
}


# ---------------------------------------------------------------- models

def build(name: str) -> Any:
    """The adapter around random bfloat16 weights of that shape, on the GPU."""
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
        with torch.device("cuda"):
            model = getattr(transformers, adapter.model_class)(config)
    finally:
        torch.set_default_dtype(before)
    return adapter(model, words, name=name)


# ---------------------------------------------------------------- timing

def median_ms(action: Callable[[], Any], repeats: int = REPEATS) -> float:
    """The median of `repeats` timed calls after one that warms up; the GPU's queue is drained."""
    import torch

    drain = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    times = []
    for _ in range(repeats + 1):
        drain()
        begin = time.perf_counter()
        action()
        drain()
        times.append(1000 * (time.perf_counter() - begin))
    return round(statistics.median(times[1:]), 2)


def measure(llm: Any, cache_tokens: tuple[int, ...] = CACHE_TOKENS) -> dict[str, Any]:
    """Milliseconds to encode a frame, to prefill it and to decode a token, by cache size."""
    import numpy as np

    from streamassist.types import Frame, Role

    picture = np.random.default_rng(0).integers(0, 256, (*FRAME_SIZE, 3), dtype=np.uint8)
    frame = Frame(picture, 0.0, 0)
    tokens = llm.encode([frame])[0]
    cache = llm.new_cache()
    llm.forward(llm.text_chunk(llm.prompt_ids(), 0, Role.PROMPT, 0.0), cache)
    row = {
        "tokens_per_frame": len(tokens.embeds),
        "encode_ms": median_ms(lambda: llm.encode([frame])),
        "by_cache": [],
    }
    start = cache.size
    for size in cache_tokens:
        while cache.size < size:
            chunk = llm.frame_chunk(tokens, start)
            llm.forward(chunk, cache)
            start += chunk.span
        frame_ms = median_ms(lambda at=start: _undone(llm, llm.frame_chunk(tokens, at), cache))
        word = llm.text_chunk([5], start, Role.TEXT, 0.0)
        word_ms = median_ms(lambda chunk=word: _undone(llm, chunk, cache))
        row["by_cache"].append({
            "cache_tokens": cache.size, "cache_mb": round(cache.bytes / 1e6, 1),
            "prefill_frame_ms": frame_ms, "decode_token_ms": word_ms,
            "frames_per_s": round(1000 / (row["encode_ms"] + frame_ms), 1),
        })
    return row


def _undone(llm: Any, chunk: Any, cache: Any) -> None:
    """A forward pass that leaves the cache as it was."""
    size = cache.size
    llm.forward(chunk, cache)
    cache.truncate(size)


# ---------------------------------------------------------------- the run

def unable() -> str | None:
    """Why nothing can be measured here, None when it can."""
    try:
        import numpy  # noqa: F401  (absence is what is asked)
        import torch
        import transformers  # noqa: F401
    except ImportError as error:
        return f"{error.name} is missing"
    return None if torch.cuda.is_available() else "no CUDA device"


def run_one(name: str) -> dict[str, Any]:
    import torch

    free_gb = torch.cuda.mem_get_info()[0] / 1e9
    if free_gb < SHAPES[name]["gb"]:
        return {"model": name, "status": "not run", "why": f"{free_gb:.0f} GB are free"}
    try:
        torch.cuda.reset_peak_memory_stats()
        row = measure(build(name))
        peak = round(torch.cuda.max_memory_allocated() / 1e9, 2)
        return {"model": name, "status": "ok", **row, "peak_gb": peak}
    except ImportError as error:
        return {"model": name, "status": "not run", "why": str(error)}
    except Exception as error:   # one model that breaks must not cost the figures of the others
        return {"model": name, "status": "failed", "why": f"{type(error).__name__}: {error}"[:500]}
    finally:
        torch.cuda.empty_cache()


def header() -> dict[str, Any]:
    import torch
    import transformers

    return {
        "device": torch.cuda.get_device_name(), "torch": torch.__version__,
        "transformers": transformers.__version__, "dtype": "bfloat16", "attention": "auto",
        "frame": FRAME_SIZE,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=480, help="begin no model after this long")
    args = parser.parse_args()
    if why := unable():
        print(json.dumps({"ok": True, "figure": None, "status": "not run", "why": why}))
        return 0
    began, report = time.monotonic(), {**header(), "rows": []}
    out = Path(os.environ.get("OUT", "results")) / "gpu_bench.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    for name in SHAPES:
        late = time.monotonic() - began > args.seconds
        row = {"model": name, "status": "not run", "why": "out of time"} if late else run_one(name)
        report["rows"].append(row)
        out.write_text(json.dumps(report, indent=1))
        print(json.dumps(row), flush=True)
    ok = all(row["status"] != "failed" for row in report["rows"])
    print(json.dumps({"ok": ok, "figure": report["rows"][0].get("encode_ms"), "file": str(out)}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
