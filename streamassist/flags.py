"""The command line: flags -> Config."""
import argparse
from dataclasses import replace

from models import reuse
from streamassist import memory, response, thinking, tokens
from streamassist.config import BRANCHES, NO_FOLDER, Config, EngineConfig, ServerConfig
from streamassist.endpoint import KEY_VARIABLE
from streamassist.errors import StreamAssistError
from streamassist.tools import TOOLS
from streamassist.webhook import SECRET_VARIABLE

ABOUT = "streamassist: an assistant that watches live video with you. Run it with `make run`."
DEFAULTS = Config()


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
        "--cuda-graphs", action="store_true",
        help="record the model's steps and replay them; needs an NVIDIA GPU, not yet run on one",
    )
    parser.add_argument(
        "--fps", type=float, default=DEFAULTS.engine.fps, help="frames a second the model sees"
    )
    parser.add_argument("--quantize", default="none", help="none, int8 or nf4 (needs a GPU)")
    parser.add_argument("--attention", default="auto", help="auto, sdpa or flash_attention_2")
    add_talk_flags(parser)
    add_helper_flags(parser)
    parser.add_argument(
        "--keep", metavar="DIR", help="a folder for pictures and memory; without it none is written"
    )
    parser.add_argument(
        "--keep-mb", type=int, default=DEFAULTS.keep_mb, metavar="N", help="the most it may hold"
    )


def add_talk_flags(parser: argparse.ArgumentParser) -> None:
    """When to speak, and what is thought meanwhile."""
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
    parser.add_argument("--response", default=DEFAULTS.response, help=", ".join(response.METHODS))
    parser.add_argument(
        "--watch-by", default=DEFAULTS.watch_by,
        help=f"how watch rules are checked: {', '.join(response.GOALS)}",
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
        tokens=args.tokens, reuse=args.reuse, thinking=args.thinking, quantize=args.quantize,
        attention=args.attention,
        engine=EngineConfig(
            fps=args.fps, branch=args.branch, gap=args.gap, cuda_graphs=args.cuda_graphs
        ),
        keep=args.keep or DEFAULTS.keep, keep_mb=args.keep_mb,
        tools=args.tools, delegate=args.delegate, delegate_model=args.delegate_model,
    )


def parse_flags(argv: list[str]) -> Config:
    parser = Parser(prog="app.py", description=ABOUT)
    add_model_flags(parser)
    parser.add_argument(
        "--source", default=DEFAULTS.source,
        help="sample, browser, none, a file, rtsp://..., camera:0; the page can change it",
    )
    parser.add_argument(
        "--webhook", default=DEFAULTS.webhook, metavar="URL",
        help="where alerts of rules go that say so, signed with the secret in "
        f"{SECRET_VARIABLE}",
    )
    parser.add_argument("--host", default=DEFAULTS.server.host)
    parser.add_argument("--port", type=int, default=DEFAULTS.server.port)
    parser.add_argument("--token", help="the password pages must give; needed beyond loopback")
    args = parser.parse_args(argv)
    server = ServerConfig(args.host, args.port, args.token)
    return replace(config_of(args), source=args.source, server=server, webhook=args.webhook)
