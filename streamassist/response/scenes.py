"""Scene graphs in words: what a sentence names, and the words between two names, by rule.

For Response-G1 (arXiv 2605.07575); reading a graph off a sentence by rule is our inference.
"""
import re

_SMALL = frozenset(
    "a an the this that these those some its his her their my your our is are was were be been "
    "being has have had do does did there here it he she they you i we and or of to with at by for "
    "from as in on into onto up down out off over under near next behind before after".split()
)
_LINKS = frozenset("in on into onto over under near behind with at by from of up down off".split())
Edge = tuple[str, ...]


def graph_of(sentence: str) -> frozenset[Edge]:
    """Nodes (word,) and edges (word, link, word): "A dog on grass" -> dog, grass, dog-on-grass."""
    words = re.findall(r"[a-z']+", sentence.lower())
    graph: set[Edge] = set()
    last, links = "", []
    for word in words:
        if word in _SMALL:
            links += [word] if word in _LINKS else []
            continue
        node = stem(word)
        graph.add((node,))
        if last:
            graph.add((last, " ".join(links) or "-", node))
        last, links = node, []
    return frozenset(graph)


def stem(word: str) -> str:
    """"dogs" -> "dog", "running" -> "run": enough to compare short descriptions."""
    for end, least in (("ing", 3), ("ies", 2), ("es", 3), ("s", 3), ("ed", 3)):
        if word.endswith(end) and len(word) - len(end) >= least and not word.endswith("ss"):
            word = word[: -len(end)] + ("y" if end == "ies" else "")
            break
    doubled = len(word) > 3 and word[-1] == word[-2] and word[-1] != "s"
    return word[:-1] if doubled else word.removesuffix("e")


def likeness(condition: frozenset[Edge], scene: frozenset[Edge]) -> float:
    """Share of the condition's nodes and edges that the scene has, 0..1."""
    return len(condition & scene) / len(condition) if condition else 0.0
