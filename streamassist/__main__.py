"""`python -m streamassist replay CLIP ...` and `python -m streamassist doctor`."""
import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TextIO

from app import build, compose, run
from streamassist.config import check_range
from streamassist.errors import StreamAssistError
from streamassist.flags import Parser, add_model_flags, config_of
from streamassist.types import Stats


def replay_command(argv: list[str]) -> None:
    """A clip through the whole assistant, as JSON lines."""
    from models.overlap import EncodeAhead
    from streamassist.replay import Plan, replay, replay_real_time
    from streamassist.video import open_video

    args = _replay_parser().parse_args(argv)
    config, video = config_of(args), open_video(args.clip)
    _check_together(args)
    plan = Plan.parse(args.ask, args.watch)
    _check_output(args.out, video.path)
    app = build(config, sink=_tracer(args.trace, video.path))
    print(f"Model: {app.reason}", file=sys.stderr)
    if args.real_time:
        events = replay_real_time(video, app.make_session, config, plan, app.clock)
    elif args.together > 1:
        ahead = EncodeAhead(app.model)
        app = compose(ahead, app.reason, config, app.clock, app.sink)
        events = replay(video, app.make_session, config, plan, args.together, ahead.prepare)
    else:
        events = replay(video, app.make_session, config, plan)
    with nullcontext(sys.stdout) if args.out is None else args.out.open("w") as out:
        for event in events:
            _print(json.dumps(event.line()), out)
            if args.out and isinstance(event, Stats):
                print(f"{event.t:.0f} s watched", file=sys.stderr)


def _replay_parser() -> Parser:
    parser = Parser(prog="python -m streamassist replay", description=replay_command.__doc__)
    parser.add_argument("clip", help="a video file")
    add_model_flags(parser)
    parser.add_argument("--ask", action="append", default=[], metavar='"12.0:QUESTION"')
    parser.add_argument("--watch", action="append", default=[], metavar='"0.5:Tell me when ..."')
    parser.add_argument("--real-time", action="store_true", help="play at the clip's own speed")
    parser.add_argument(
        "--together", type=int, default=1, metavar="N",
        help="frames encoded in one pass, ahead of their time; not with --real-time or --reuse",
    )
    parser.add_argument(
        "--trace", type=Path, metavar="FILE",
        help="file for the signals of every frame and what was decided on them, as JSON lines",
    )
    parser.add_argument("--out", type=Path, help="file for the events; standard output without")
    return parser


def _tracer(path: Path | None, clip: Path) -> Callable[[dict[str, Any]], None] | None:
    """Writes the lines of a trace."""
    if path is None:
        return None
    _check_output(path, clip)
    out = path.open("w")
    return lambda line: _print(json.dumps(line), out)


def _check_together(args: Namespace) -> None:
    check_range("--together", args.together, 1, 64)
    if args.together > 1 and (args.real_time or args.reuse != "none"):
        raise StreamAssistError(
            "--together needs frames that are known before their time, each encoded for itself; "
            "use it without --real-time and --reuse."
        )


def _print(line: str, out: TextIO) -> None:
    """A line to the output; a disk that fills up on the way is told in a sentence."""
    try:
        print(line, file=out, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())   # for the rest, when it is closed
        raise StreamAssistError(
            f"{out.name} cannot be written ({error.strerror}); free some space, or name another "
            "file with --out."
        ) from None


def _check_output(path: Path | None, clip: Path) -> None:
    """Say before the model is loaded what cannot be written; what is there is kept so far."""
    if path is None:
        return
    try:
        if path.exists() and path.samefile(clip):
            raise StreamAssistError(f"{path} is the clip itself; name another file.")
        path.open("a").close()
    except OSError as error:
        raise StreamAssistError(
            f"--out {path} cannot be written ({error.strerror}); name another file."
        ) from None


def main(argv: list[str]) -> int:
    command, *rest = argv or ["--help"]
    if command == "replay":
        return run(lambda: replay_command(rest))
    if command == "doctor":
        return _doctor(rest)
    if command in ("-h", "--help"):
        print(__doc__)
        return 0
    return run(lambda: _unknown(command))


def _doctor(argv: list[str]) -> int:
    from streamassist import doctor

    parser = Parser(prog="python -m streamassist doctor", description=doctor.__doc__)
    return run(lambda: parser.parse_args(argv)) or doctor.main()


def _unknown(command: str) -> None:
    raise StreamAssistError(f"{command!r} is not a command; there are: replay, doctor.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
