"""How fast are the adapters on this GPU? Random weights in the shapes of the published models.

`python -m benchmarks.gpu_bench [--seconds 480]` writes OUT/gpu_bench.json (else in `results`)
after each model. A missing module, GPU or too little memory is "not run" with the reason. Random
weights say nothing about answers, only about time: shapes, types and cache sizes are the real ones.
"""
import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.shapes import SHAPES, build, header, median_ms, release, unable

CACHE_TOKENS = (2048, 8192, 32768)
FRAME_SIZE = (480, 640)


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
            **with_graphs(llm, llm.frame_chunk(tokens, start), word, cache),
        })
    return row


def with_graphs(llm: Any, frame: Any, word: Any, cache: Any) -> dict[str, Any]:
    """The same two by CUDA graphs, on a GPU; what goes wrong there is told beside the others."""
    if llm.device.type != "cuda":
        return {}
    try:
        llm.use_graphs()
        for chunk in (frame, word) * 2:   # met, then recorded
            _undone(llm, chunk, cache)
        return {"graph_prefill_frame_ms": median_ms(lambda: _undone(llm, frame, cache)),
                "graph_decode_token_ms": median_ms(lambda: _undone(llm, word, cache))}
    except Exception as error:
        return {"graphs": f"{type(error).__name__}: {error}"[:300]}
    finally:
        llm.fixed = None


def _undone(llm: Any, chunk: Any, cache: Any) -> None:
    """A forward pass that leaves the cache as it was."""
    size = cache.size
    llm.forward(chunk, cache)
    cache.truncate(size)


# ---------------------------------------------------------------- the run

def run_one(name: str) -> dict[str, Any]:
    if why := unable(name):
        return {"model": name, "status": "not run", "why": why}
    import torch

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
        release()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=480, help="begin no model after this long")
    args = parser.parse_args()
    if why := unable():
        print(json.dumps({"ok": True, "figure": None, "status": "not run", "why": why}))
        return 0
    began, report = time.monotonic(), {**header(), "frame": FRAME_SIZE, "rows": []}
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
