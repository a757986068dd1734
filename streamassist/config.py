"""Every setting, in one frozen tree; wrong values raise StreamAssistError with the mend."""
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from streamassist.errors import StreamAssistError

MB = 1_000_000
BRANCHES = ("follow", "overlap", "gap", "group")
KEPT_TENTHS = {"thumbnails": 1, "pages": 9}   # of --keep-mb
NO_FOLDER = "--keep is empty; name a folder, or leave it out."


def check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise StreamAssistError(
            f"{name} must be between {low:.12g} and {high:.12g}, not {value:.12g}."
        )


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """fps: frames a second given to the model; tokens_per_turn: answer tokens between two frames;
    max_answer_tokens: longest answer; branch: where a question and its answer stand while frames
    arrive, see `streamassist/branch.py`; gap: positions before them, for "gap"; cuda_graphs: the
    model's passes have fixed shapes, which a GPU replays (models/graphs.py)."""

    fps: float = 2.0
    tokens_per_turn: int = 8
    max_answer_tokens: int = 64
    branch: str = "follow"
    gap: int = 256
    cuda_graphs: bool = False

    def __post_init__(self) -> None:
        check_range("--fps", self.fps, 0.1, 30)
        check_range("tokens_per_turn", self.tokens_per_turn, 1, 256)
        check_range("max_answer_tokens", self.max_answer_tokens, 1, 4096)
        one_of("--branch", self.branch, BRANCHES)
        check_range("--gap", self.gap, 0, 1_000_000)


@dataclass(frozen=True, slots=True)
class GateConfig:
    """The one gate behind every response policy; see `streamassist/response/gate.py`."""

    hi: float = 0.7
    lo: float = 0.4
    confirm: int = 2
    confirm_of: int = 3
    rearm_novelty: float = 0.5
    refractory_s: float = 3.0
    bucket: int = 2
    refill_s: float = 10.0
    same_text: float = 0.9
    remembered_texts: int = 5
    start_silence_s: float = 3.0
    ttl_s: float = 3.0
    max_lag_s: float = 1.0


@dataclass(frozen=True, slots=True)
class ServerConfig:
    host: str = "127.0.0.1"
    port: int = 7860
    token: str | None = None

    @property
    def loopback(self) -> bool:
        return self.host in ("127.0.0.1", "localhost", "::1")

    def __post_init__(self) -> None:
        check_range("--port", self.port, 1, 65535)
        if not self.host.strip():
            raise StreamAssistError("--host is empty; leave it out, or name an address.")
        if self.token is not None and not self.token.strip():
            raise StreamAssistError("--token is empty; give a password, or leave it out.")
        if not self.loopback and not self.token:
            raise StreamAssistError(
                f"Listening on {self.host} lets other machines in; "
                "set a password for them with --token SECRET."
            )


@dataclass(frozen=True, slots=True)
class Config:
    """`memory`, `response`, `watch_by`, `tokens`, `reuse` and `thinking` are "name" or
    "name:field=value,field=value".

    keep: the folder for what outlives RAM, "" for none; keep_mb: its quota, in MB of 1e6 bytes;
    tools: "none", "all" or names with commas; delegate: an address for hard questions, "" for none.
    """

    model: str = "auto"
    memory: str = "recall"
    response: str = "cascade"
    watch_by: str = "yes_no"      # how watch rules are checked
    webhook: str = ""             # where alerts go that say so
    tokens: str = "none"
    reuse: str = "none"
    thinking: str = "none"
    source: str = "sample"
    quantize: str = "none"        # none | int8 | nf4 (bitsandbytes, CUDA)
    attention: str = "auto"       # auto | sdpa | flash_attention_2
    keep: str = ""
    keep_mb: int = 500
    tools: str = "none"
    delegate: str = ""
    delegate_model: str = ""
    engine: EngineConfig = field(default_factory=EngineConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    server: ServerConfig = field(default_factory=ServerConfig)

    def __post_init__(self) -> None:
        one_of("--quantize", self.quantize, ("none", "int8", "nf4"))
        one_of("--attention", self.attention, ("auto", "sdpa", "flash_attention_2"))
        check_range("--keep-mb", self.keep_mb, 1, 1_000_000)
        if self.keep and not self.keep.strip():
            raise StreamAssistError(NO_FOLDER)
        if self.delegate_model and not self.delegate:
            raise StreamAssistError("--delegate-model needs an address too: --delegate URL.")

    def kept(self, what: str) -> tuple[Path | None, int]:
        """Folder and quota in bytes of "thumbnails" or "pages"; (None, 0) without --keep."""
        if not self.keep:
            return None, 0
        return self._folder() / what, self.keep_mb * MB // 10 * KEPT_TENTHS[what]

    @property
    def kept_rules(self) -> Path | None:
        """The file of the watch rules, a few kilobytes; None without --keep."""
        return self._folder() / "rules.db" if self.keep else None

    def _folder(self) -> Path:
        """Raises StreamAssistError for the home of a user who does not exist."""
        try:
            return Path(self.keep).expanduser()
        except RuntimeError:
            raise StreamAssistError(
                f"--keep {self.keep} cannot be found: there is no such user; name another folder."
            ) from None


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise StreamAssistError(
            f"{name} {value!r} is unknown; choose one of: {', '.join(allowed)}."
        )


def make_method(kind: str, spec: str, methods: dict[str, type]) -> Any:
    """"name" or "name:field=value,..." -> an instance of a method's dataclass.

    Values take the type of the field's default. Errors name what would have been right.
    """
    name, _, rest = spec.partition(":")
    if name not in methods:
        raise StreamAssistError(
            f"--{kind} {name!r} is unknown; choose one of: {', '.join(sorted(methods))}."
        )
    known = {f.name: f for f in fields(methods[name]) if f.init}
    values = {}
    for part in filter(None, rest.split(",")):
        key, _, text = part.partition("=")
        if key not in known:
            raise StreamAssistError(
                f"--{kind} {name} has no setting {key!r}; it has: {', '.join(known) or 'none'}."
            )
        values[key] = _parse(kind, key, text, known[key].default)
    return methods[name](**values)


def _parse(kind: str, key: str, text: str, default: Any) -> Any:
    try:
        if isinstance(default, bool):
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        return type(default)(text)
    except (KeyError, ValueError):
        wanted = {int: "a whole number", float: "a number", bool: "true or false"}
        raise StreamAssistError(
            f"--{kind} {key} must be {wanted.get(type(default), 'a word')}, not {text!r}."
        ) from None
