"""The house's rules, read off the source: who may import whom, sizes, no prints, our `kernels/`."""
import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from house import COMMAND_LINE, LONGER_FILES, MAX_FILE, MAX_FUNCTION, PACKAGES, TABLE, May
from places import ROOT

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
