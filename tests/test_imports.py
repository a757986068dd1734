"""The house's rules, read off the source: who may import whom, sizes, no prints, our `kernels/`."""
import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from places import ROOT

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
    "streamassist.rules": May(CORE),
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
        "streamassist.reuse streamassist.frames",
        "torch numpy", THREADS,
    ),
    "streamassist.speaker": May(TALK, "", THREADS),
    "streamassist.session": May(
        f"{TALK} streamassist.archive streamassist.frames streamassist.motion streamassist.rules "
        "streamassist.speaker",
        "", THREADS,
    ),
    "streamassist.worker": May(LIVE),
    "streamassist.replay": May(f"{LIVE} streamassist.ingest streamassist.worker"),
    "streamassist.live": May(f"{LIVE} streamassist.sources streamassist.worker"),
    "streamassist.doctor": May("*", "*"),
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
OURS = {"streamassist", "models", "kernels", "ui", "app"}


def sources(*tops: str) -> list[Path]:
    found = [path for top in tops for path in (ROOT / top).rglob("*.py")]
    return sorted([ROOT / "app.py", *found])


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def within(name: str, parts: str) -> bool:
    """Whether a module is one of `parts` (separated by blanks) or lies inside one."""
    return any(name == part or name.startswith(part + ".") for part in parts.split())


def imports(tree: ast.AST) -> Iterator[str]:
    """Every imported module, also those imported late; type-checking blocks do not count."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from imported_from(node)
        yield from imports(node)


def imported_from(node: ast.ImportFrom) -> Iterator[str]:
    """`from a import b` is a.b where that is a module of ours, else a."""
    for alias in node.names:
        inner = f"{node.module}.{alias.name}"
        path = ROOT / inner.replace(".", "/")
        is_module = path.is_dir() or path.with_suffix(".py").is_file()
        yield inner if is_module else node.module


def breach(module: str, imported: str, may: May) -> bool:
    top = imported.split(".")[0]
    if top in OURS:
        allowed = may.ours == "*" or within(imported, may.ours)
    elif top in sys.stdlib_module_names:
        allowed = top not in may.but_not
    else:
        allowed = may.outside == "*" or top in may.outside.split()
    return not allowed and not within(imported, module)


def test_nobody_imports_what_the_table_forbids():
    wrong = []
    for path in sources("streamassist", "models", "kernels", "ui"):
        module = name_of(path)
        if module in ("streamassist", "models.nano"):
            continue
        parts = [part for part in TABLE if within(module, part)]
        assert parts, f"{module} has no row in the import table"
        may = TABLE[max(parts, key=len)]
        tree = ast.parse(path.read_text())
        wrong += [f"{module} -> {name}" for name in imports(tree) if breach(module, name, may)]
    assert not wrong


@pytest.mark.parametrize(
    "module, imported, forbidden",
    [
        ("streamassist.engine", "threading", True),
        ("streamassist.engine", "models", True),
        ("streamassist.engine", "streamassist.memory.last_n", False),
        ("streamassist.memory", "streamassist.response.gate", True),
        ("streamassist.frames", "torch", True),
        ("ui", "torch", True),
        ("ui", "streamassist.worker", True),
        ("models", "streamassist.engine", True),
        ("kernels", "streamassist.types", True),
        ("streamassist.worker", "threading", False),
    ],
)
def test_the_table_forbids_what_the_house_forbids(module, imported, forbidden):
    assert breach(module, imported, TABLE[module]) is forbidden


def test_late_imports_are_seen_and_annotations_are_not():
    code = "if TYPE_CHECKING:\n    import torch\ndef f():\n    import queue\n    from av import x\n"
    assert list(imports(ast.parse(code))) == ["queue", "av"]


def test_files_and_functions_stay_small():
    wrong = []
    for path in sources(*PACKAGES):
        name, text = str(path.relative_to(ROOT)), path.read_text()
        lines = len(text.splitlines())
        if lines > MAX_FILE and name not in LONGER_FILES:
            wrong.append(f"{name}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = node.end_lineno - node.lineno + 1
                if length > MAX_FUNCTION:
                    wrong.append(f"{name}: {node.name} has {length} lines")
    assert not wrong


def test_only_the_command_line_prints():
    wrong = []
    for path in sources("streamassist", "models", "kernels", "ui"):
        name = str(path.relative_to(ROOT))
        if name.startswith(COMMAND_LINE):
            continue
        calls = (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call))
        wrong += [f"{name}:{c.lineno}" for c in calls if ast.unparse(c.func) == "print"]
    assert not wrong


def test_every_longer_file_is_really_longer():
    for name in LONGER_FILES:
        assert len((ROOT / name).read_text().splitlines()) > MAX_FILE, f"{name} needs no exception"


# ---------------------------------------------------------------- in a fresh interpreter


def fresh(code: str, timeout_s: float = 110) -> str:
    """What `code` prints, run from the repository root as a user would."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=timeout_s,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_light_modules_load_without_torch_or_gradio():
    light = [
        "types", "config", "frames", "video", "sources", "sample", "rules", "clock", "paths",
        "doctor",
    ]
    lines = "\n".join(f"import streamassist.{name}" for name in light)
    heavy = "sorted({'torch', 'gradio', 'transformers', 'cv2'} & set(sys.modules))"
    assert fresh(f"{lines}\nimport sys\nprint({heavy})") == "[]"


@pytest.mark.slow
def test_transformers_reads_the_gguf_beside_our_kernels():
    """transformers looks for a package named kernels, and finds ours."""
    code = """
import torch, transformers, kernels
from models.nano.weights import TEXT_MODEL
file = TEXT_MODEL.locate()
options = {"gguf_file": file.name}
words = transformers.AutoTokenizer.from_pretrained(file.parent, **options)
model = transformers.AutoModelForCausalLM.from_pretrained(
    file.parent, dtype=torch.float32,
    quantization_config=transformers.GgufConfig(dequantize=True), **options)
ids = words("The capital of France is", return_tensors="pt").input_ids
print(kernels.__file__)
print(words.decode(model(ids).logits[0, -1].argmax()).strip())
"""
    ours, word = fresh(code).splitlines()[-2:]
    assert Path(ours) == ROOT / "kernels" / "__init__.py"
    assert word == "Paris"


def test_bitsandbytes_multiplies_in_four_bits_beside_our_kernels():
    code = """
import torch, bitsandbytes
torch.manual_seed(0)
dense = torch.nn.Linear(128, 64, bias=False)
four = bitsandbytes.nn.Linear4bit(128, 64, bias=False, quant_type="nf4")
four.load_state_dict(dense.state_dict())
four = four.to("cpu")
x = torch.randn(8, 128)
exact, close = dense(x), four(x)
print(four.weight.dtype, float((exact - close).norm() / exact.norm()))
"""
    dtype, error = fresh(code).splitlines()[-1].split()
    assert dtype == "torch.uint8"
    assert 0.001 < float(error) < 0.2
