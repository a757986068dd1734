"""The doctor finds what is wrong, names the mend, and its exit code tells scripts."""
import pytest

from places import ROOT
from streamassist import doctor
from streamassist.errors import StreamAssistError


def states(check) -> dict[str, str]:
    return {finding.part: finding.state for finding in check()}


def test_all_parts_are_reported_and_say_something():
    findings = doctor.run()
    parts = [finding.part for finding in findings]
    assert len(parts) == len(set(parts))
    assert {"python", "torch", "device", "nano: text model", "sample clip", "disk"} <= set(parts)
    assert all(f.state in ("ok", "note", "missing") and f.text for f in findings)


def test_pins_are_read_from_the_requirements():
    assert doctor.pinned("requirements.txt")["torch"] == "2.13.0"
    assert doctor.pinned("requirements-gpu.txt")["triton"] == "3.7.1"


def test_absent_and_other_packages_are_named(monkeypatch):
    pins = {"numpy": doctor.version_of("numpy"), "pillow": "0.1", "no-such-package": "1.0"}
    monkeypatch.setattr(doctor, "pinned", lambda _file: pins)
    absent, other = doctor.packages()
    assert (absent.state, absent.text, absent.mend) == (
        "missing", "not installed: no-such-package", "make setup"
    )
    assert other.state == "note" and "pillow" in other.text and "numpy" not in other.text


def test_a_damaged_model_file_is_missing_with_its_sentence(monkeypatch):
    from models.nano import weights

    def refuse(_self):
        raise StreamAssistError("The model file x does not have the expected SHA-256.")

    monkeypatch.setattr(weights.PackagedFile, "locate", refuse)
    assert states(doctor.model_files)["nano: text model"] == "missing"


def test_a_missing_sample_is_only_a_note(monkeypatch, tmp_path):
    monkeypatch.setenv("STREAMASSIST_CACHE", str(tmp_path))
    assert states(doctor.sample) == {"sample clip": "note"}


def test_a_full_disk_is_told(monkeypatch):
    monkeypatch.setattr(doctor, "FREE_GB", 1e9)
    (finding,) = doctor.disk()
    assert finding.state == "missing" and "free at least" in finding.mend


@pytest.mark.parametrize("state, code, last", [("note", 0, "Ready"), ("missing", 1, "1 thing")])
def test_the_exit_code(monkeypatch, capsys, state, code, last):
    found = [doctor.Finding("ok", "a", "fine"), doctor.Finding(state, "b", "gone", "get it")]
    monkeypatch.setattr(doctor, "run", lambda: found)
    assert doctor.main() == code
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith(last) and "-> get it" in "\n".join(lines)


def test_every_requirement_is_pinned_exactly():
    for file in ROOT.glob("requirements*.txt"):
        lines = [x for x in file.read_text().splitlines() if x and not x.startswith("#")]
        assert lines and all("==" in line for line in lines), file.name
