"""Short questions and answers made from captions by rule: what, who, where, how many, which colour.

A caption "A black dog is running on the beach with a stick in its mouth" tells the dog's colour,
what it does, where, and what it has in its mouth. What no caption of a picture names can be asked
too: the answer is that it is not there. The rules are ours; they miss more than they find, and what
they find is as right as the captions are.
"""
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from models.nano.lexicon import (
    ANIMALS,
    COLOURS,
    INDOORS,
    NUMBERS,
    OUTDOORS,
    PEOPLE,
    PLACES,
    SAME_COLOUR,
    SPORTS,
    SURFACES,
    VEHICLES,
    is_alive,
    is_plural,
)
from models.nano.questions import (
    GROUPS,
    MASS,
    WORD_GROUP,
    things_in,
    with_article,
    words_of,
)


@dataclass(frozen=True)
class Fact:
    """A question with its answer. keys: words of which a right answer has at least one."""

    kind: str
    question: str
    answer: str
    keys: frozenset[str]


_SUBJECT = r"(?P<who>\w+)"
_IS = r"(?:(?:in|with|wearing) (?:\w+ ){1,4}?(?:is |are )|is |are )?"
_DOING = re.compile(rf"\b{_SUBJECT} {_IS}(?P<what>\w{{2,}}ing\b[^.,;]*)")
_WEARING = re.compile(rf"\b{_SUBJECT}(?: is| are)? (?:wearing|dressed in|wears|wear) "
                      r"(?P<what>[^.,;]+)")
_IN_CLOTHES = re.compile(rf"\b{_SUBJECT} in (?P<what>an? [^.,;]*?\b(?:shirt|jacket|coat|dress|hat|"
                         r"suit|uniform|outfit|sweater|vest|costume|cap|helmet)\b)")
_HOLDING = re.compile(rf"\b{_SUBJECT} {_IS}(?:holding|holds|carrying|carries) "
                      r"(?P<what>[^.,;]+)")
_MOUTH = re.compile(r"\b(?:with|carrying|holding|has) (?P<what>[^.,;]+?) "
                    r"in (?:its|his|her|their|the) mouths?\b")
_WHERE = re.compile(
    r"\b(?P<what>(?:in|on|at|through|across|along|over|down|by|near|inside|beside|into) "
    rf"(?:the |a |an |some )?(?:(?!of |and |with )\w+ ){{0,2}}?(?:{'|'.join(PLACES)}))\b"
)
_COLOUR = re.compile(
    rf"\b(?P<one>{'|'.join([*COLOURS, *SAME_COLOUR][:-2])})"
    rf"(?: and (?P<two>{'|'.join(COLOURS)}|grey))? (?P<who>\w+)"
)
_COUNT = re.compile(rf"\b(?P<n>{'|'.join(NUMBERS[1:])}) (?:\w+ ){{0,2}}?(?P<who>\w+)\b")
_ON_SURFACE = re.compile(
    rf"^(?P<what>[^.,;]{{3,50}}?) (?:is |are |sits |sit |sitting |lying |laying |lies |that is )?"
    rf"on (?:top of )?(?:a|an|the) (?:\w+ ){{0,2}}?(?P<who>{'|'.join(SURFACES)})\b"
)
_LIVING = "|".join(sorted(PEOPLE | ANIMALS))
_WHO = re.compile(
    r"^(?P<what>(?:an?|two|three|four|five|several|some|the) (?:\w+ ){0,3}?"
    rf"(?:{_LIVING})(?: and (?:an?|his|her|the|their) (?:\w+ )?(?:{_LIVING}))?)\b"
)
_PHRASE_ENDS = re.compile(
    r"\b(?:is|are|was|and|while|as|who|which|that|with|on|in|at|by|near|to|for|from|over|through|"
    r"stands|sits|walks|runs|jumps|poses|looks|plays|playing|standing|sitting|walking|running|"
    r"looking|posing|riding|jumping|rides|smiles|smiling|next|behind|during|holding|carrying|because|going|onto|close|up)\b"
)
_CLAUSE_ENDS = re.compile(r"\b(?:while|as|and|who|which|that|during|because|so)\b")
_NOTHING = frozenset("something onto on it them hands hand each that".split())
_NO_ACTIONS = frozenset("wearing being something nothing anything evening morning building ceiling "
                        "clothing railing king ring string wing spring swing during".split())
_STOP = frozenset("a an the his her its their some of and with two three".split())


def facts_of(captions: Sequence[str]) -> list[Fact]:
    """Everything the rules find, each question once."""
    found: dict[str, Fact] = {}
    for caption in captions:
        text = " ".join(re.findall(r"[a-z'-]+|[.,;]", caption.lower()))
        for fact in (fact for rule in _RULES for fact in rule(text)):
            known = found.setdefault(fact.question, fact)
            found[fact.question] = replace(known, keys=known.keys | fact.keys)
    return [*found.values(), *_about_all(captions)]


def absent_fact(captions: Sequence[str], rng: random.Random, weights: Sequence[float]) -> Fact:
    """A question about a thing that no caption names."""
    (group,) = _absent_things(captions, rng, weights, 1)
    word = GROUPS[group][0]
    alive = word in PEOPLE or word in ANIMALS
    form = rng.choice(_ASK_ACTION if alive else _ASK_ABSENT)
    thing = f"any {word}" if word in MASS else with_article(word)
    question = form.format(x=word, be=_be(word))
    return Fact("absent", question, f"I do not see {thing}.", frozenset({"not", "no"}))


def choice_fact(captions: Sequence[str], rng: random.Random, weights: Sequence[float]) -> Fact:
    """Which of several things is there; only one of them is named by a caption.

    The wrong ones are drawn by how often they are seen elsewhere, as the right one was.
    """
    right = rng.choice(sorted(things_in(captions)))
    wrong = _absent_things(captions, rng, weights, rng.choice((1, 1, 2, 3)))
    names = [with_article(GROUPS[g][0]) for g in sorted(set(wrong))]
    names.insert(rng.randint(0, len(names)), with_article(GROUPS[right][0]))
    listed = " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    form = rng.choice(_ASK_CHOICE if len(names) > 2 else ("Is there {x}?", *_ASK_CHOICE))
    return Fact("choice", form.format(x=listed), _sentence(with_article(GROUPS[right][0])),
                frozenset(GROUPS[right]))


def _absent_things(
    captions: Sequence[str], rng: random.Random, weights: Sequence[float], count: int
) -> list[int]:
    """So many groups that no caption names and that are no places, perhaps some twice."""
    known = things_in(captions) | {g for g, names in enumerate(GROUPS) if names[0] in PLACES}
    chances = [0.0 if g in known else weight + RARE for g, weight in enumerate(weights)]
    return rng.choices(range(len(GROUPS)), chances, k=count)


def reworded(question: str, rng: random.Random) -> str:
    """The same question as another person might ask it: "the person" for "the man"."""
    words = question.split()
    for i, word in enumerate(words[1:], 1):
        bare = word.rstrip("?")
        if words[i - 1] == "the" and bare in PEOPLE and rng.random() < 0.4:
            pronouns = ("they",) if is_plural(bare) else ("he",) if bare in _HE else ("she",)
            general = "people" if is_plural(bare) else "person"
            known = bare in _HE | _SHE or is_plural(bare)
            if known and rng.random() < 0.3:
                words[i - 1 : i + 1] = [pronouns[0] + word[len(bare):]]
            else:
                words[i] = general + word[len(bare):]
            break
    return " ".join(words)


_HE, _SHE = frozenset(("man", "boy", "guy")), frozenset(("woman", "girl", "lady"))
_ASK_CHOICE = ("Which of these is there: {x}?", "Which of these do you see: {x}?")


# ---------------------------------------------------------------- one caption

RARE = 0.01   # the weight of a thing that was never seen
_ASK_ACTION = ("What is the {x} doing?", "Where is the {x}?", "What colour is the {x}?")
_ASK_ABSENT = ("What colour {be} the {x}?", "Where {be} the {x}?")


def _be(noun: str) -> str:
    return "are" if is_plural(noun) else "is"


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + "."


def _keys(phrase: str) -> frozenset[str]:
    return frozenset(w for w in words_of(phrase) if w not in _STOP and len(w) > 2)


def _cut(text: str, ends: re.Pattern[str], most: int) -> str:
    """`text` up to what ends the phrase, at most so many words."""
    first, _, rest = text.strip().partition(" ")
    stop = ends.search(rest)
    kept = (first + " " + (rest[: stop.start()] if stop else rest)).split()
    while kept and (len(kept) > most or kept[-1] in _DANGLING):
        kept.pop()
    return " ".join(kept)


_DANGLING = frozenset(
    "a an the his her its their of in on at with to and or by for from very".split()
)


def _doing(text: str) -> Iterator[Fact]:
    for m in _DOING.finditer(text):
        who, what = m["who"], _cut(m["what"], _CLAUSE_ENDS, 7)
        verb = what.split()[0] if what else ""
        if is_alive(who) and verb and verb not in _NO_ACTIONS:
            yield Fact("doing", f"What {_be(who)} the {who} doing?", _sentence(what),
                       frozenset({verb}))


def _wearing(text: str) -> Iterator[Fact]:
    for m in (*_WEARING.finditer(text), *_IN_CLOTHES.finditer(text)):
        what = _cut(m["what"], _PHRASE_ENDS, 6)
        if m["who"] in PEOPLE and what:
            yield Fact("wearing", f"What {_be(m['who'])} the {m['who']} wearing?", _sentence(what),
                       _keys(what))


def _holding(text: str) -> Iterator[Fact]:
    for m in _HOLDING.finditer(text):
        what = _cut(m["what"], _PHRASE_ENDS, 5)
        if m["who"] in PEOPLE and what and what.split()[0] not in _NOTHING:
            yield Fact("holding", f"What {_be(m['who'])} the {m['who']} holding?",
                       _sentence(what), _keys(what))
    for m in _MOUTH.finditer(text):
        what = _cut(m["what"], _PHRASE_ENDS, 5)
        animal = next((w for w in words_of(text) if w in ANIMALS and not is_plural(w)), None)
        if animal and what and what.split()[0] not in _NOTHING:
            yield Fact("holding", f"What does the {animal} have in its mouth?", _sentence(what),
                       _keys(what))


def _where(text: str) -> Iterator[Fact]:
    who = next((w for w in words_of(text) if is_alive(w)), None)
    for m in _WHERE.finditer(text):
        place = m["what"].split()[-1]
        if who and place:
            yield Fact("where", f"Where {_be(who)} the {who}?", _sentence(m["what"]),
                       frozenset({place}))
            return


def _colour(text: str) -> Iterator[Fact]:
    for m in _COLOUR.finditer(text):
        one, two = (SAME_COLOUR.get(m[k], m[k]) for k in ("one", "two"))
        if m["who"] in WORD_GROUP and m["who"] not in MASS and one:
            answer = f"{one} and {two}" if two else one
            yield Fact("colour", f"What colour {_be(m['who'])} the {m['who']}?", _sentence(answer),
                       frozenset({one, two} - {None}))


def _count(text: str) -> Iterator[Fact]:
    for m in _COUNT.finditer(text):
        if m["who"] in WORD_GROUP and is_plural(m["who"]):
            yield Fact("count", f"How many {m['who']} are there?", _sentence(m["n"]),
                       frozenset({m["n"]}))


def _surface(text: str) -> Iterator[Fact]:
    m = _ON_SURFACE.search(text)
    if m and not set(words_of(m["what"])) & (PEOPLE | {"picture", "photo", "view", "is", "are"}):
        what = _cut(m["what"], _PHRASE_ENDS, 6)
        yield Fact("surface", f"What is on the {m['who']}?", _sentence(what), _keys(what))


def _who(text: str) -> Iterator[Fact]:
    m = _WHO.search(text)
    if m:
        nouns = frozenset(w for w in words_of(m["what"]) if is_alive(w))
        yield Fact("who", "Who is there?", _sentence(m["what"]), nouns)


_RULES: tuple[Callable[[str], Iterator[Fact]], ...] = (
    _doing, _wearing, _holding, _where, _colour, _count, _surface, _who
)


# ---------------------------------------------------------------- all captions together

def _about_all(captions: Sequence[str]) -> Iterator[Fact]:
    said = [set(words_of(c)) for c in captions]
    every = set().union(*said)
    yield from _kind_of(every, ANIMALS, "animal", "What animal do you see?", "Which animal is it?")
    yield from _kind_of(every, VEHICLES, "vehicle", "What vehicle is there?")
    sports = {SPORTS[w] for w in every if w in SPORTS}
    if len(sports) == 1:
        (sport,) = sports
        yield Fact("sport", "Which sport is it?", sport + ".", frozenset(words_of(sport)))
    inside, outside = every & INDOORS, every & OUTDOORS
    if bool(inside) != bool(outside):
        word = "indoors" if inside else "outdoors"
        yield Fact("indoors", "Is it indoors or outdoors?", word.capitalize() + ".",
                   frozenset({word}))
    people = [[w for w in words_of(c) if w in PEOPLE] for c in captions]
    if len(captions) > 2 and all(len(p) == 1 and not is_plural(p[0]) for p in people):
        yield Fact("count", "How many people are there?", "One.", frozenset({"one"}))


def _kind_of(
    every: set[str], words: frozenset[str], kind: str, *questions: str
) -> Iterator[Fact]:
    groups = {WORD_GROUP[w] for w in every & words}
    if len(groups) == 1:
        (group,) = groups
        word = GROUPS[group][0]
        keys = frozenset(GROUPS[group]) & words
        for question in questions:
            yield Fact(kind, question, _sentence(with_article(word)), keys)
