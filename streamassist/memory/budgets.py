"""Budgets in megabytes, as a user may give them, turned into the tokens that policies count."""
import math
import re
from fractions import Fraction

from streamassist.config import MB
from streamassist.errors import StreamAssistError
from streamassist.memory.base import MAX_TOKENS

TAKE_MB = ("budget", "max_tokens")   # settings that count cache slots
NUMBER = re.compile(r"\d{1,9}(\.\d{0,9})?|\.\d{1,9}", re.ASCII)


def in_tokens(spec: str, bytes_per_token: int | None = None) -> str:
    """"recall:budget=1.5MB" -> "recall:budget=21": whole tokens, no more than fit; the rest stays.

    bytes_per_token: of the model's cache (`KVCache.bytes_per_slot`: raw keys, rotated keys and
    values of all layers). None, before a model is loaded: a budget that every policy accepts stands
    in for one in MB, so that all else in `spec` can be checked. A megabyte is 1,000,000 bytes.
    Raises StreamAssistError for a size that is no number, that is less than a token or more than
    the most tokens, and for MB given to a setting that does not take them.
    """
    name, colon, rest = spec.partition(":")
    parts = [_part(part, bytes_per_token) for part in rest.split(",")]
    return f"{name}{colon}{','.join(parts)}"


def _part(part: str, bytes_per_token: int | None) -> str:
    key, _, text = part.partition("=")
    text = text.strip()
    if not text.lower().endswith("mb"):
        return part
    number = text[:-2].rstrip()
    if key not in TAKE_MB:
        if not NUMBER.fullmatch(number):   # a word
            return part
        raise StreamAssistError(
            f"--memory {part}: of the settings only {' and '.join(TAKE_MB)} can be given in MB."
        )
    if not NUMBER.fullmatch(number):
        raise StreamAssistError(
            f"--memory {key} in MB must be a number such as 12MB, not {text[:20]!r}."
        )
    if bytes_per_token is None:
        return f"{key}={MAX_TOKENS}"
    return f"{key}={_tokens(part, Fraction(number) * MB, bytes_per_token)}"


def _tokens(part: str, size: Fraction, bytes_per_token: int) -> int:
    """Whole tokens in so many bytes."""
    tokens = math.floor(size / bytes_per_token)
    if not tokens:
        least = _shown(math.ceil(bytes_per_token / 1000))
        raise StreamAssistError(
            f"--memory {part} is less than one token of this model; give at least {least}MB."
        )
    if tokens > MAX_TOKENS:
        most = _shown(MAX_TOKENS * bytes_per_token // 1000)
        raise StreamAssistError(
            f"--memory {part} is more than {MAX_TOKENS:,} tokens; give at most {most}MB."
        )
    return tokens


def _shown(thousands: int) -> str:
    """Megabytes of so many thousand bytes, without needless digits."""
    return f"{thousands / 1000:.3f}".rstrip("0").rstrip(".")
