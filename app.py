"""streamassist: an assistant that watches live video with you. Run it with `make run`.

The only file that knows everyone: flags -> Config -> model -> worker -> page.
"""
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")   # before torch: waiting threads must not spin
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from models import reuse
from streamassist import memory, response, thinking, tokens
from streamassist.branch import video_room
from streamassist.clock import Clock, RealClock
from streamassist.config import KEPT_TENTHS, Config, make_method
from streamassist.delegate import Delegate
from streamassist.endpoint import KEY_VARIABLE
from streamassist.engine import Engine
from streamassist.errors import StreamAssistError
from streamassist.flags import parse_flags
from streamassist.rules import RuleStore
from streamassist.session import Session
from streamassist.timing import Sink, Timing
from streamassist.tools import Helpers, make_tools
from streamassist.types import Event, VideoLLM
from streamassist.webhook import SECRET_VARIABLE, Webhook, as_listener

USAGE_ERROR = 2


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
        helpers = make_helpers(config, clock)
        return Session(
            make_engine, make_timing(config, sink), config, clock, emit, store, helpers
        )

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


def serve(config: Config) -> None:
    """Load the model, open the page and serve until Ctrl-C."""
    from streamassist.live import Live
    from streamassist.sources import open_source, parse_source
    from streamassist.worker import Worker
    from ui.server import serve as serve_pages

    source = parse_source(config.source)
    if source.kind != "sample":   # without the sample everything else works
        open_source(source)
    webhook = make_webhook(config)
    print("Loading the model ...", flush=True)
    app = build(config)
    print(f"Model: {app.reason}", flush=True)
    worker = Worker(app.make_session, config, app.clock)
    live = Live(worker, app.clock, app.model.name, getattr(app.model, "note", ""))
    if webhook:
        live.subscribe(alerting(webhook, worker.announce))
    live.start(config.source)
    try:
        serve_pages(live, config.server)
    finally:
        live.stop()
        if webhook:
            webhook.stop()


def make_webhook(config: Config) -> Webhook | None:
    """Raises StreamAssistError for an address or a secret that cannot be used."""
    if not config.webhook:
        return None
    secret = os.environ.get(SECRET_VARIABLE, "")
    if not secret:
        raise StreamAssistError(
            f"--webhook needs a secret to sign with; put one into the variable {SECRET_VARIABLE}."
        )
    return Webhook(config.webhook, secret, RealClock())


def alerting(webhook: Webhook, announce: Callable[[str], None]) -> Callable[[Event], None]:
    """A listener that sends alerts, and tells the page once of each trouble with that."""
    send, told = as_listener(webhook), set()

    def listen(event: Event) -> None:
        send(event)
        for fault in webhook.faults():
            if fault not in told:
                told.add(fault)
                announce(fault)

    return listen


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
