"""Are our kernels faster than torch on this GPU? Shapes of Qwen2.5-VL-7B, bfloat16.

`python -m benchmarks.gpu_kernels` writes OUT/gpu_kernels.json (else in `results`). Beside each
kernel the time of its torch reference in the same run, and for packed attention of dequantising
everything and attending. A missing module or GPU is "not run" with the reason.
"""
import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.shapes import median_ms, unable

LAYERS, HEADS, EACH, DIM, TOKENS = 28, 4, 7, 128, 8192
SIDE, WIDTH = 16, 3584    # of a frame's grid; of the language model
FASTER = 2.0              # packed attention against dequantising, at TOKENS


def pairs() -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """Name -> (kernel, torch reference), ready to be called."""
    import torch

    from kernels.block_scores import block_scores, block_scores_ref
    from kernels.gather_rotate import gather_rotate, gather_rotate_ref
    from kernels.kv_pack import pack, pack_ref
    from kernels.merge_state import merge_state, merge_state_ref
    from kernels.packed_attention import packed_attention, packed_attention_ref
    from kernels.token_similarity import token_similarity, token_similarity_ref

    def randn(*shape: int) -> Any:
        return torch.randn(shape, device="cuda", dtype=torch.bfloat16)

    heads = HEADS * EACH
    keys, query = randn(HEADS, TOKENS, DIM), randn(heads, DIM)
    states = randn(1, heads, DIM), torch.randn(1, heads, device="cuda")
    merged = (*states, randn(1, heads, DIM), torch.randn(1, heads, device="cuda"))
    raw, kept = randn(LAYERS * HEADS, TOKENS, DIM), TOKENS // 2
    index = torch.randperm(TOKENS, device="cuda")[:kept].sort().values[None]
    turn = torch.randn(1, kept, DIM, device="cuda")
    gathered = raw, index, turn.cos(), turn.sin()
    frames = randn(SIDE * SIDE, WIDTH), randn(SIDE * SIDE, WIDTH), SIDE, SIDE
    found = {
        "merge_state": (lambda: merge_state(*merged), lambda: merge_state_ref(*merged)),
        "gather_rotate": (lambda: gather_rotate(*gathered), lambda: gather_rotate_ref(*gathered)),
        "token_similarity": (lambda: token_similarity(*frames),
                             lambda: token_similarity_ref(*frames)),
    }
    one = randn(HEADS, DIM)
    for by in ("mean", "bound"):
        found[f"block_scores {by}"] = (lambda by=by: block_scores(one, keys, 64, by),
                                       lambda by=by: block_scores_ref(one, keys, 64, by))
    for bits in (4, 2):
        found[f"kv_pack {bits} bits"] = (lambda bits=bits: pack(keys, bits, False),
                                         lambda bits=bits: pack_ref(keys, bits, False))
        packed = query, pack(keys, bits, False), pack(keys, bits, True)
        found[f"packed_attention {bits} bits"] = (lambda p=packed: packed_attention(*p),
                                                  lambda p=packed: packed_attention_ref(*p))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few repeats")
    parser.add_argument("--json", action="store_true", help="print only the last line")
    args = parser.parse_args()
    why = unable()
    if why is None:
        try:
            import triton  # noqa: F401  (absence is what is asked)
        except ImportError:
            why = "triton is missing"
    if why:
        print(json.dumps({"ok": True, "figure": None, "status": "not run", "why": why}))
        return 0
    import torch

    from kernels.dispatch import SWITCH

    os.environ[SWITCH], rows = "1", []   # they are what is measured
    for name, (kernel, reference) in pairs().items():
        mine, theirs = (median_ms(f, 5 if args.quick else 50) for f in (kernel, reference))
        rows.append({"kernel": name, "ms": mine, "torch_ms": theirs,
                     "times": round(theirs / max(mine, 1e-3), 2)})
        if not args.json:
            print(json.dumps(rows[-1]), flush=True)
    out = Path(os.environ.get("OUT", "results")) / "gpu_kernels.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"device": torch.cuda.get_device_name(), "rows": rows}, indent=1))
    slow = [row["kernel"] for row in rows if row["times"] < 1]
    slow += [row["kernel"] for row in rows
             if row["kernel"].startswith("packed_attention") and row["times"] < FASTER]
    figure = f"{len(rows) - len(set(slow))} of {len(rows)} kernels as fast as they must be"
    print(json.dumps({"ok": not slow, "figure": figure, "slow": sorted(set(slow))}))
    return 0 if not slow else 1


if __name__ == "__main__":
    sys.exit(main())
