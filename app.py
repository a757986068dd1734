"""streamassist: an assistant that watches live video with you. Run it with `make run`.

The only file that knows everyone: flags -> Config -> model -> worker -> page.
"""
import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")   # before torch: waiting threads must not spin
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from models import reuse
from streamassist import memory, response, thinking, tokens
from streamassist.branch import video_room
from streamassist.clock import Clock, RealClock
from streamassist.config import (
    BRANCHES,
    KEPT_TENTHS,
    NO_FOLDER,
    Config,
    EngineConfig,
    ServerConfig,
    make_method,
)
from streamassist.delegate import Delegate
from streamassist.endpoint import KEY_VARIABLE
from streamassist.engine import Engine
from streamassist.errors import StreamAssistError
from streamassist.rules import RuleStore
from streamassist.session import Session
from streamassist.timing import Sink, Timing
from streamassist.tools import TOOLS, Helpers, make_tools
from streamassist.types import Event, VideoLLM

USAGE_ERROR = 2
DEFAULTS = Config()


@dataclass(frozen=True)
class App:
    """A loaded model and how to begin a conversation with it."""

    model: VideoLLM
    reason: str
    make_session: Callable[[Callable[[Event], None]], Session]
    config: Config
    clock: Clock
    sink: Sink | None = None


def build(config: Config, clock: Clock | None = None, sink: Sink | None = None) -> App:
    """Compose model, engine and session; raises StreamAssistError for every mistake in `config`.
    `sink`: see `make_timing`."""
    make_method("memory", memory.in_tokens(config.memory), memory.METHODS)   # wrong before loading
    make_timing(config)
    check_tokens(config)
    make_method("reuse", config.reuse, reuse.METHODS)
    make_method("thinking", config.thinking, thinking.METHODS)
    make_helpers(config, RealClock())
    prepare_folders(config)
    import models

    model, reason = models.load(
        config.model, quantize=config.quantize, attention=config.attention
    )
    return compose(model, reason, config, clock or RealClock(), sink)


def compose(
    model: VideoLLM, reason: str, config: Config, clock: Clock, sink: Sink | None = None
) -> App:
    """Engine and session around a loaded model."""
    check_response(model, config)
    make_method("reuse", config.reuse, reuse.METHODS).attach(model)   # refused now or never
    video_room(model, config.engine)
    spec = memory.in_tokens(config.memory, model.new_cache().bytes_per_slot)

    def make_engine() -> Engine:
        policy = make_method("memory", spec, memory.METHODS)
        reducer = make_method("tokens", config.tokens, tokens.METHODS)
        encoder = make_method("reuse", config.reuse, reuse.METHODS)
        notes = make_method("thinking", config.thinking, thinking.METHODS)
        engine = Engine(model, policy, config.engine, reducer, encoder, notes)
        folder, disk_bytes = config.kept("pages")
        if folder:   # not before: a new engine begins by forgetting
            policy.use_disk(folder, disk_bytes)
        return engine

    def make_session(emit: Callable[[Event], None]) -> Session:
        store = RuleStore(config.kept_rules) if config.kept_rules else None
        return Session(make_engine, make_timing(config, sink), config, clock, emit, store)

    return App(model, reason, make_session, config, clock, sink)


def make_timing(config: Config, sink: Sink | None = None) -> Timing:
    """`sink` takes the lines of a trace: signals, decisions and what became of them."""
    return Timing(
        make_method("response", config.response, response.METHODS),
        make_method("watch-by", config.watch_by, response.GOALS),
        config.gate, sink,
    )


def make_helpers(config: Config, clock: Clock) -> Helpers:
    """Tools and the delegate, which are off unless they are named; raises StreamAssistError."""
    if not config.delegate:
        return Helpers(make_tools(config.tools))
    key = os.environ.get(KEY_VARIABLE, "")
    delegate = Delegate(config.delegate, config.delegate_model, key, clock)
    return Helpers(make_tools(config.tools), delegate)


def check_response(model: VideoLLM, config: Config) -> None:
    """Raises StreamAssistError for a response policy that the model was not trained for."""
    has = {*model.choice_ids, *(["flag"] if model.p_silence is not None else [])}
    if missing := make_method("response", config.response, response.METHODS).needs - has:
        lacks = "a flag for news" if "flag" in missing else "a token of silence"
        raise StreamAssistError(
            f"The model {model.name} was not trained with {lacks}, which --response "
            f"{config.response} needs; use --response change_gate."
        )


def check_tokens(config: Config) -> None:
    """Raises StreamAssistError for a token reducer that is unknown or does not fit the memory."""
    reducer = make_method("tokens", config.tokens, tokens.METHODS)
    if reducer.edits_cache and not memory.METHODS[config.memory.partition(":")[0]].any_slots:
        fit = [name for name, method in memory.METHODS.items() if method.any_slots]
        raise StreamAssistError(
            f"--tokens {config.tokens} takes slots out of frames, which --memory {config.memory} "
            f"does not bear; use --memory {', '.join(fit[:-1])} or {fit[-1]}."
        )


def prepare_folders(config: Config) -> None:
    """Make what --keep names; raises StreamAssistError where nothing can be written."""
    for folder in filter(None, (config.kept(what)[0] for what in KEPT_TENTHS)):
        try:
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)   # pictures are private
            folder.mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=folder, buffering=0) as probe:
                probe.write(b"x")   # a full disk still takes empty files
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise StreamAssistError(
                f"--keep {config.keep!r} cannot be written ({why}); name another folder."
            ) from None


class Parser(argparse.ArgumentParser):
    """Mistakes become StreamAssistError, so that all of them are told alike."""

    def error(self, message: str) -> None:
        raise StreamAssistError(f"{message[:1].upper()}{message[1:]}; see {self.prog} --help.")


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", default=DEFAULTS.model,
        help="auto, nano, smolvlm2, qwen2.5-vl, qwen3-vl, a checkpoint folder or a hub id",
    )
    parser.add_argument(
        "--memory", default=DEFAULTS.memory,
        help=f"{', '.join(memory.METHODS)}; settings follow a colon: last_n:frames=8",
    )
    parser.add_argument(
        "--tokens", default=DEFAULTS.tokens,
        help=f"what is read of a frame: {', '.join(tokens.METHODS)}; settings follow a colon",
    )
    parser.add_argument(
        "--reuse", default=DEFAULTS.reuse,
        help=f"what the encoder does not do twice: {', '.join(reuse.METHODS)}",
    )
    parser.add_argument(
        "--thinking", default=DEFAULTS.thinking,
        help=f"notes taken while nothing is said: {', '.join(thinking.METHODS)}",
    )
    parser.add_argument(
        "--branch", default=DEFAULTS.engine.branch,
        help=f"where an answer stands while frames come: {', '.join(BRANCHES)}",
    )
    parser.add_argument(
        "--gap", type=int, default=DEFAULTS.engine.gap, metavar="N",
        help="positions before the answer, with --branch gap",
    )
    parser.add_argument(
        "--cuda-graphs", action="store_true",
        help="record the model's steps and replay them; needs an NVIDIA GPU, not yet run on one",
    )
    parser.add_argument("--response", default=DEFAULTS.response, help=", ".join(response.METHODS))
    parser.add_argument(
        "--watch-by", default=DEFAULTS.watch_by,
        help=f"how watch rules are checked: {', '.join(response.GOALS)}",
    )
    parser.add_argument(
        "--fps", type=float, default=DEFAULTS.engine.fps, help="frames a second the model sees"
    )
    add_helper_flags(parser)
    parser.add_argument("--quantize", default="none", help="none, int8 or nf4 (needs a GPU)")
    parser.add_argument("--attention", default="auto", help="auto, sdpa or flash_attention_2")
    parser.add_argument(
        "--keep", metavar="DIR", help="a folder for pictures and memory; without it none is written"
    )
    parser.add_argument(
        "--keep-mb", type=int, default=DEFAULTS.keep_mb, metavar="N", help="the most it may hold"
    )


def add_helper_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tools", default=DEFAULTS.tools, metavar="NAMES",
        help=f"what a question may use, by commas: {', '.join(TOOLS)}; all, or none",
    )
    parser.add_argument(
        "--delegate", default=DEFAULTS.delegate, metavar="URL",
        help="an OpenAI-compatible address for hard questions, which gets pictures of the stream; "
        f"its key comes from {KEY_VARIABLE}",
    )
    parser.add_argument(
        "--delegate-model", default=DEFAULTS.delegate_model, metavar="NAME",
        help="the model to ask there",
    )


def config_of(args: argparse.Namespace) -> Config:
    if args.keep == "":   # as of a variable that is not set
        raise StreamAssistError(NO_FOLDER)
    return Config(
        model=args.model, memory=args.memory, response=args.response, watch_by=args.watch_by,
        tokens=args.tokens,
        reuse=args.reuse, thinking=args.thinking, quantize=args.quantize, attention=args.attention,
        engine=EngineConfig(
            fps=args.fps, branch=args.branch, gap=args.gap, cuda_graphs=args.cuda_graphs
        ),
        keep=args.keep or DEFAULTS.keep, keep_mb=args.keep_mb,
        tools=args.tools, delegate=args.delegate, delegate_model=args.delegate_model,
    )


def parse_flags(argv: list[str]) -> Config:
    parser = Parser(prog="app.py", description=__doc__.splitlines()[0])
    add_model_flags(parser)
    parser.add_argument(
        "--source", default=DEFAULTS.source,
        help="sample, browser, none, a file, rtsp://..., camera:0; the page can change it",
    )
    parser.add_argument("--host", default=DEFAULTS.server.host)
    parser.add_argument("--port", type=int, default=DEFAULTS.server.port)
    parser.add_argument("--token", help="the password pages must give; needed beyond loopback")
    args = parser.parse_args(argv)
    server = ServerConfig(args.host, args.port, args.token)
    return replace(config_of(args), source=args.source, server=server)


def serve(config: Config) -> None:
    """Load the model, open the page and serve until Ctrl-C."""
    from streamassist.live import Live
    from streamassist.sources import open_source, parse_source
    from streamassist.worker import Worker
    from ui.server import serve as serve_pages

    source = parse_source(config.source)
    if source.kind != "sample":   # without the sample everything else works
        open_source(source)
    print("Loading the model ...", flush=True)
    app = build(config)
    print(f"Model: {app.reason}", flush=True)
    worker = Worker(app.make_session, config, app.clock)
    live = Live(worker, app.clock, app.model.name, getattr(app.model, "note", ""))
    live.start(config.source)
    try:
        serve_pages(live, config.server)
    finally:
        live.stop()


def run(main: Callable[[], None]) -> int:
    """`main` with every mistake told in one sentence on stderr; the exit code."""
    try:
        main()
    except StreamAssistError as error:
        print(error, file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(run(lambda: serve(parse_flags(sys.argv[1:]))))
