"""Who may import whom in this house, what may be longer than 300 lines, and who may print."""
from dataclasses import dataclass

MAX_FILE, MAX_FUNCTION = 300, 40      # lines
LONGER_FILES = {
    "streamassist/cache.py": "all that touches the buffers stands in one place",
    "streamassist/types.py": "the whole vocabulary of the house belongs in one place",
}
COMMAND_LINE = (
    "app.py", "streamassist/__main__.py", "streamassist/doctor.py", "streamassist/sample.py",
    "models/nano/train.py", "models/nano/describe.py", "models/nano/evaluate.py",
    "benchmarks/", "tools/",
)
PACKAGES = ("streamassist", "models", "kernels", "ui", "benchmarks", "tools", "tests")
THREADS = frozenset({"threading", "queue", "asyncio", "multiprocessing", "concurrent"})


@dataclass(frozen=True)
class May:
    """What a part may import: our own parts, outside packages, and which of the standard library
    it may not. "*" is everything."""

    ours: str
    outside: str = ""
    but_not: frozenset[str] = frozenset()


CORE = "streamassist.types streamassist.errors"
METHODS = (
    f"{CORE} streamassist.cache streamassist.slots streamassist.pages streamassist.scoring "
    "streamassist.codec streamassist.entropy streamassist.config streamassist.positions "
    "streamassist.visual streamassist.basis streamassist.curve kernels"
)
TALK = (
    f"{CORE} streamassist.clock streamassist.config streamassist.engine streamassist.response"
)
LIVE = (
    f"{CORE} streamassist.clock streamassist.config streamassist.frames streamassist.metrics "
    "streamassist.session streamassist.video"
)
# part -> what it may import; a module belongs to the longest part its name begins with
TABLE = {
    "kernels": May("kernels", "torch triton"),
    "streamassist.errors": May(""),
    "streamassist.paths": May(""),
    "streamassist.clock": May(""),
    "streamassist.metrics": May(CORE),
    "streamassist.motion": May("", "numpy cv2"),
    "streamassist.archive": May(f"{CORE} streamassist.pages"),
    "streamassist.rules": May(f"{CORE} streamassist.rules", "", THREADS),
    "streamassist.post": May(CORE, "", THREADS),
    "streamassist.webhook": May(f"{CORE} streamassist.clock streamassist.post"),
    "streamassist.types": May(CORE, "numpy"),
    "streamassist.config": May(CORE),
    "streamassist.frames": May(CORE, "numpy PIL"),
    "streamassist.video": May(CORE, "numpy av"),
    "streamassist.ingest": May(f"{CORE} streamassist.video", "numpy"),
    "streamassist.sample": May("streamassist.errors streamassist.paths"),
    "streamassist.sources": May(
        f"{CORE} streamassist.clock streamassist.frames streamassist.sample streamassist.video",
        "numpy av",
    ),
    "streamassist.rope": May(CORE, "torch", THREADS),
    "streamassist.hardware": May(CORE, "torch", THREADS),
    "streamassist.slots": May(CORE, "torch", THREADS),
    "streamassist.visual": May(CORE, "torch", THREADS),
    "streamassist.basis": May(CORE, "torch", THREADS),
    "streamassist.curve": May(CORE, "torch", THREADS),
    "streamassist.positions": May(f"{CORE} streamassist.slots", "torch", THREADS),
    "streamassist.cache": May(
        f"{CORE} streamassist.rope streamassist.slots kernels", "torch", THREADS
    ),
    "streamassist.scoring": May(
        f"{CORE} streamassist.cache streamassist.slots streamassist.rope kernels", "torch", THREADS
    ),
    "streamassist.codec": May(f"{CORE} kernels", "torch", THREADS),
    "streamassist.entropy": May(CORE, "torch zstandard", THREADS),
    "streamassist.pages": May(
        f"{CORE} streamassist.cache streamassist.slots streamassist.codec streamassist.config "
        "streamassist.entropy streamassist.pages",
        "torch safetensors numpy",
    ),
    "streamassist.memory": May(f"{METHODS} streamassist.memory", "torch", THREADS),
    "streamassist.tokens": May(
        f"{METHODS} streamassist.motion streamassist.tokens", "torch numpy", THREADS
    ),
    "streamassist.reuse": May(f"{CORE} streamassist.config", "torch", THREADS),
    "streamassist.response": May(f"{METHODS} streamassist.response", "torch", THREADS),
    "streamassist.engine": May(
        f"{METHODS} streamassist.memory streamassist.tokens streamassist.response "
        "streamassist.reuse streamassist.frames streamassist.branch streamassist.thinking",
        "torch numpy", THREADS,
    ),
    "streamassist.branch": May(f"{METHODS} streamassist.memory.base", "torch", THREADS),
    "streamassist.thinking": May(
        f"{METHODS} streamassist.branch streamassist.memory.base streamassist.memory.question "
        "streamassist.thinking",
        "torch", THREADS,
    ),
    "streamassist.senses": May(f"{TALK} streamassist.cache", "torch", THREADS),
    "streamassist.faults": May(f"{CORE} streamassist.clock"),
    "streamassist.timing": May(
        f"{TALK} streamassist.motion streamassist.rules streamassist.senses", "torch", THREADS
    ),
    "streamassist.rule_desk": May(
        f"{TALK} streamassist.archive streamassist.frames streamassist.rules streamassist.timing",
        "", THREADS,
    ),
    "streamassist.endpoint": May(CORE),
    "streamassist.tools": May(
        f"{CORE} streamassist.clock streamassist.engine streamassist.frames "
        "streamassist.memory.base streamassist.memory.question streamassist.tools",
        "numpy PIL rapidocr onnxruntime",
    ),
    "streamassist.delegate": May(
        f"{CORE} streamassist.clock streamassist.endpoint streamassist.engine streamassist.frames "
        "streamassist.tools",
    ),
    "streamassist.speaker": May(
        f"{TALK} streamassist.delegate streamassist.timing streamassist.tools", "", THREADS
    ),
    "streamassist.commands": May(f"{CORE} streamassist.rules"),
    "streamassist.session": May(
        f"{TALK} streamassist.archive streamassist.commands streamassist.faults "
        "streamassist.frames streamassist.rules streamassist.rule_desk streamassist.speaker "
        "streamassist.timing streamassist.tools",
        "", THREADS,
    ),
    "streamassist.worker": May(LIVE),
    "streamassist.replay": May(f"{LIVE} streamassist.ingest streamassist.worker"),
    "streamassist.live": May(
        f"{LIVE} streamassist.sources streamassist.tools streamassist.worker"
    ),
    "streamassist.doctor": May("*", "*"),
    "streamassist.flags": May("*", "*"),
    "streamassist.__main__": May("*", "*"),
    "models": May(
        f"{CORE} streamassist.cache streamassist.rope streamassist.hardware streamassist.paths "
        "models kernels",
        "torch transformers safetensors huggingface_hub numpy PIL flash_attn bitsandbytes",
    ),
    "models.reuse": May(f"{CORE} streamassist.config streamassist.reuse streamassist.rope "
                        "models.reuse models.nano.backbone", "torch", THREADS),
    "ui": May(f"ui {CORE} streamassist.config", "gradio fastapi starlette uvicorn"),
    "app": May("*", "*"),
}
