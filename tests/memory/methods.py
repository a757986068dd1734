"""Small settings of every memory method for the contract tests: frames of 4 tokens."""
from dataclasses import dataclass, field
from typing import Any

from made_up import MadeUpModel
from streamassist.memory import METHODS
from streamassist.memory.base import MemoryPolicy

FRAME = 4


@dataclass(frozen=True)
class Tiny:
    """settings: of the method; most: slots of the stream's cache at any time; answer: slots that
    an answer's own cache may have before the question (0: it answers on the stream's);
    whole: whole frames leave and the rest stand as if they alone had been seen;
    early: it changes frames before its budget is reached."""

    settings: dict[str, Any] = field(default_factory=lambda: {"budget": 40})
    most: int = 40
    answer: int = 0
    whole: bool = False
    early: bool = False

    def make(self, name: str, num_axes: int = 1) -> MemoryPolicy:
        policy = METHODS[name](**self.settings)
        policy.attach(MadeUpModel(num_axes))
        return policy


PACKED = {"budget": 40, "residual": 20, "page": 8, "most_tokens": 200}
BANKS = (
    "curve_stream", "save_mem", "flash_vstream", "flash_star", "pyramid", "scene_tilling",
    "video_streaming", "omni_live", "causal_mem",
)
TINY: dict[str, Tiny] = {
    "full": Tiny({"max_tokens": 400}, most=400, whole=True),
    "last_n": Tiny({"frames": 4}, most=4 * FRAME, whole=True),
    "attention_sinks": Tiny({"sink_frames": 1, "budget": 40}, whole=True),
    "uniform": Tiny(whole=True),
    "random": Tiny(whole=True),
    "recall": Tiny(most=9 * FRAME, answer=40, whole=True),
    "goldfish": Tiny({"budget": 40, "clip_s": 5.0, "longest": 10, "best": 2, "notes": 30},
                     most=9 * FRAME, answer=40, whole=True),
    "rekv": Tiny({"budget": 40, "stored": 80}, most=20, answer=40, whole=True),
    "inf_llm": Tiny({"budget": 40, "stored": 80, "page": 8}, most=20, answer=40, whole=True),
    "lserve": Tiny({"budget": 40, "stored": 80, "page": 8}, most=20, answer=40, whole=True),
    "resv": Tiny({"budget": 40, "stored": 80}, most=20, answer=40, whole=True),
    "stream_kv": Tiny({"budget": 40, "stored": 80}, most=20, answer=40, whole=True),
    "dscache": Tiny(answer=40, whole=True),
    "lacache": Tiny({"budget": 40, "span": 1, "recent": 2, "chunk": 2}),
    "sirllm": Tiny({"budget": 40, "chunk": 2}),
    "video_scan": Tiny({"budget": 40, "frames": 12, "top": 1}, early=True),
    "live_star": Tiny({"budget": 40, "longest": 5}, whole=True),
    "duo_attention": Tiny({"budget": 40, "sink": 4, "recent": 12, "chunk": 2}),
    "kivi": Tiny(PACKED, most=20, answer=200, whole=True),
    "vidkv": Tiny(PACKED, most=20, answer=200, whole=True),
    "cachegen": Tiny(PACKED, most=20, answer=200, whole=True),
    "spherical": Tiny(PACKED, most=20, answer=200, whole=True),
    "streaming_tom": Tiny(
        {"budget": 40, "residual": 20, "most_tokens": 40}, most=20, answer=40, whole=True
    ),
    "streaming_vlm": Tiny({"budget": 40, "window_s": 4.0}, whole=True),
    "infinipot_v": Tiny({"budget": 40, "chunk": 5}),
    "stream_mem": Tiny({"budget": 40, "chunk": 5, "similar": 1.0}),
    "hermes": Tiny({"budget": 40, "chunk": 6}),
    "live_vlm": Tiny({"budget": 40, "chunk": 5, "page": 4}, answer=40),
    "infinite_vggt": Tiny({"budget": 40, "chunk": 5}),
    **{name: Tiny(most=4 * FRAME, answer=40, whole=True) for name in BANKS},
}
