"""Is an answer right? By the `accept` lists of the annotated clips, as the contracts say.

An answer is cut at 15 words. It is right when each group has an entry that stands at the start of
a word of it ("slic" accepts "slices"). What a negated sentence says does not count, but for the
negation itself where that is what is asked for ("No, nothing happens").
"""
import re
from collections.abc import Sequence

MOST_WORDS = 15
NEGATIONS = frozenset("no not never none nothing nobody nowhere neither nor without cannot".split())

# The commonest nouns of nano's training captions, in that order: an answer to everything.
COMMON_NOUNS = (
    "dog man boy woman girl people water shirt ball grass person snow child field street"
)


def is_right(answer: str, accept: Sequence[Sequence[str]]) -> bool:
    sentences = [s.split() for s in re.split(r"[.!?;]+\s*", cut(answer)) if s]
    return bool(accept) and all(
        any(_holds(words, entry) for words in sentences for entry in group) for group in accept
    )


def cut(answer: str) -> str:
    """The first 15 words, in lower case, apostrophes straight."""
    return " ".join(answer.lower().replace("\u2019", "'").split()[:MOST_WORDS])


def _holds(words: Sequence[str], entry: str) -> bool:
    if entry not in NEGATIONS and any(_negates(word) for word in words):
        return False
    whole = entry in NEGATIONS or entry.isdigit()   # "no" is not in "now", nor "1" in "15"
    pattern = rf"(?<![a-z0-9]){re.escape(entry)}" + (r"(?![a-z0-9])" if whole else "")
    return re.search(pattern, " ".join(words)) is not None


def _negates(word: str) -> bool:
    return word.strip(",:\"'()") in NEGATIONS or "n't" in word
