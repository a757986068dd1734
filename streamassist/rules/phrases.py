"""The phrases that rules are made of, as regular expressions, and how to cut them out."""
import re

from streamassist.rules.times import SPAN, cut_hours

_PLEASE = r"^\s*(?:please\s+|can you\s+|could you\s+|hey,?\s+)*"
_TELL = r"(?:tell|alert|notify|warn|inform|ping|remind|let)\s+me\b(?:\s+know\b)?"
OPENING = re.compile(
    rf"{_PLEASE}{_TELL}\s+(?:when(?:ever)?|if|once|as soon as)\b\s*(?P<event>.*)$", re.I | re.S
)
_WATCH_FOR = re.compile(
    r"^\s*(?:please\s+)?(?:watch|look)\s+(?:out\s+)?for\b\s*(?P<event>.*)$", re.I
)
_WHEN = re.compile(r"^\s*(?:when(?:ever)?|if|once|as soon as)\s+(?P<event>.+)$", re.I)
_AND_TELL = re.compile(
    rf"^\s*(?:when(?:ever)?|if|as soon as)\s+(?P<event>.+?),?\s*(?:please\s+|then\s+)*{_TELL}"
    r"[\s.!]*$", re.I,
)

# What may stand anywhere in a rule, by what it means.
_QUALIFIERS = {
    name: re.compile(rf"(?:\b(?:and|but)\s+)?(?:{pattern})", re.I) for name, pattern in {
        "urgent": r"^\W*urgent\s*[:!,-]+|\burgently\b|\bit(?:'s| is) urgent\b",
        "warning": r"^\W*warning\s*[:!,-]+|\bas a warning\b",
        "info": r"^\W*(?:info|fyi)\s*[:!,-]+|\b(?:just )?for (?:my )?information\b",
        "sound": r"\b(?:with|by)\s+(?:a\s+)?(?:sound|beep|chime)\b|\bplay\s+a\s+sound\b",
        "speech":
            r"\b(?:say|speak|read)\s+(?:(?:it|so|that|this)\s+)?(?:aloud|out loud)\b"
            r"|(?<=\bme\s)(?:aloud|out loud)\b|\b(?:by|with)\s+(?:voice|speech)\b",
        "webhook":
            r"\b(?:(?:call|use|ping|notify|trigger|by|via|with|through|and|send it to)\s+)"
            r"(?:the\s+|my\s+|a\s+)?web\s?hook\b",
        "cooldown_s":
            r"\b(?:at most|not? more(?: often)? than)\s+"
            r"(?:(?:once|one time)\s+)?(?:(?:every|each|per|in)\s+|(?=an?\s))" + SPAN,
        "only_if_changed":
            r"\b(?:again\s+)?only\s+(?:again\s+)?if\s+(?:(?:something|it|the (?:scene|view|"
            r"picture))\s+)?(?:has\s+)?change[sd]\b",
        "once":
            r"\b(?:only|just)\s+once\b|\bonce\s+only\b|(?<!\bat )(?<!\bthan )\bonce\s*[.!]*$"
            r"|\bonce,?\s+(?=(?:when|if|as soon as|every time|each time)\b)",
        "always": r"(?:^\s*|(?<=\bme\s)|,\s*)always\b|[\s,]+(?:every|each) time[\s.!]*$",
    }.items()
}
_EVERY_TIME = re.compile(r"\b(?:every|each) time\b", re.I)
FOR = re.compile(
    r"\b(?:for\s+(?:more than\s+|longer than\s+|at least\s+|over\s+|the last\s+)?|longer than\s+)"
    + SPAN + r"(?!\s+time\b)", re.I,   # not "for a second time"
)
_VERB = (
    r"(?:remind|tell|alert|notify|warn|inform|ping|let|say|describe|check|look|read|count|list|"
    r"report|summari[sz]e)\b"
)
_ANOTHER = r"(?:in|after|every)\s+" + re.sub(r"\?P<\w+>", "?:", SPAN)   # refused later
TIMED = {
    name: [re.compile(_PLEASE + pattern, re.I) for pattern in (
        rf"{word}\s+{SPAN}[,:\s]*(?P<rest>(?:please\s+)?(?:{verb}|{_ANOTHER}).*)$",
        rf"(?P<tell>{_TELL})\s+{word}\s+{SPAN}[,:\s]*(?P<rest>.*)$",
        rf"(?P<rest>remind\s+me\b.*?)[,\s]+{word}\s+{SPAN}[\s.!]*$",
    )]
    for name, word, verb in (
        ("every_s", "every", rf"(?:{_VERB}|(?:what|how|who|where)\b)"),
        ("in_s", r"(?:in|after)(?!\s+(?:seconds?|minutes?|hours?|days?)\b)", _VERB),
    )
}
REMIND = re.compile(
    rf"{_PLEASE}(?:{_TELL}|say)[,:\s]*(?:(?:to|that|about|of)\b)?\s*(?P<words>.*)$", re.I
)
QUESTION = re.compile(
    rf"{_PLEASE}(?:tell\s+me\s+|let\s+me\s+know\s+|say\s+)?(?:what|how|who|where|which|whether|if|"
    r"describe|check|look|read|count|list|report|summari[sz]e)\b", re.I,
)
REMINDER = re.compile(rf"{_PLEASE}remind\s+me\s+(?:to|that|about|of)\b", re.I)


def is_rule(text: str) -> bool:
    """True when a typed sentence asks to be told about something later."""
    _, text = cut(tidy(text))
    patterns = (OPENING, _WATCH_FOR, _AND_TELL, REMINDER, *TIMED["every_s"], *TIMED["in_s"])
    return any(pattern.match(text) for pattern in patterns)


def condition_of(text: str) -> str:
    """The sentence that must hold: "Tell me when a dog appears" -> "A dog appears"."""
    text = tidy(text)
    for pattern in (OPENING, _AND_TELL, _WHEN):
        if match := pattern.match(text):
            text = match["event"]
            break
    else:
        if match := _WATCH_FOR.match(text):
            text = match["event"] and "there is " + match["event"]
    return capital(re.sub(r"^(?:you\s+(?:can\s+)?see)\s+", "there is ", text, flags=re.I))


def cut(text: str) -> tuple[dict[str, list[re.Match]], str]:
    """The qualifiers that a sentence has, by name, and the sentence without them."""
    found = {}
    found["schedule"], text = cut_hours(text)
    for name, pattern in _QUALIFIERS.items():
        if matches := list(pattern.finditer(text)):
            found[name] = matches
            text = clean(pattern.sub(" ", text))
    if _EVERY_TIME.search(text):
        found["always"] = list(_EVERY_TIME.finditer(text))
        text = _EVERY_TIME.sub("when", text)
    return found, clean(text)


# ---------------------------------------------------------------- words

def tidy(text: str) -> str:
    """Blanks as one, and nothing that no file can hold: lone halves of characters, NUL."""
    text = text.encode("utf-8", "replace").decode()
    return re.sub(r"[\s\x00-\x1f\x7f]+", " ", text).strip()


def clean(text: str) -> str:
    """Without what the qualifiers left behind: blanks and stray commas."""
    text = re.sub(r"\s+(?=[,;])", "", re.sub(r"\s+", " ", text))
    text = re.sub(r"[,;](?:\s*[,;])+", ",", text)
    return text.strip(" ,;:")


def capital(text: str) -> str:
    text = text.strip(" ,;:").rstrip(" .!?")
    return text[:1].upper() + text[1:]
