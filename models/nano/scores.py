"""Scores of captions against several human ones: CIDEr-D, BLEU-4, and a paired bootstrap.

Words are lower-case runs of letters and digits, punctuation is dropped. Nothing is stemmed.
"""
import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

MAX_N = 4
SIGMA = 6.0          # CIDEr-D's length penalty, in words
Captions = Sequence[str]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def ngrams(tokens: Sequence[str], n: int) -> Counter:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


class CiderD:
    """CIDEr-D (Vedantam et al. 2015, arXiv 1411.5726, equation 4), n = 1..4, times 10.

    An n-gram's document frequency is the number of pictures whose references hold it.
    """

    def __init__(self, references: Sequence[Captions]):
        self.log_num = math.log(len(references))
        self.frequency: Counter = Counter()
        for captions in references:
            self.frequency.update({g for c in captions for g in self._counts(words(c))})
        self.references = references

    @staticmethod
    def _counts(tokens: list[str]) -> Counter:
        return sum((ngrams(tokens, n) for n in range(1, MAX_N + 1)), Counter())

    def _vectors(self, caption: str) -> tuple[int, list[dict], list[float]]:
        """(number of words, tf-idf vector of each n, its length of each n)."""
        tokens = words(caption)
        vectors = [
            {g: count * self._idf(g) for g, count in ngrams(tokens, n).items()}
            for n in range(1, MAX_N + 1)
        ]
        return len(tokens), vectors, [math.hypot(*v.values()) for v in vectors]

    def _idf(self, gram: tuple[str, ...]) -> float:
        return self.log_num - math.log(max(1, self.frequency[gram]))

    def score(self, candidates: Captions) -> np.ndarray:
        """(N,) one score a picture, 0..10; the corpus score is their mean."""
        pairs = zip(candidates, self.references, strict=True)
        return np.array([self._mean([c], refs)[0] for c, refs in pairs])

    def score_one(self, picture: int, candidates: Captions) -> np.ndarray:
        """(C,) the scores of several candidates for one picture."""
        return np.array(self._mean(candidates, self.references[picture]))

    def _mean(self, candidates: Captions, references: Captions) -> list[float]:
        against = [self._vectors(r) for r in references]
        return [self._one(self._vectors(c), against) for c in candidates]

    def _one(self, candidate, references: list) -> float:
        length, vectors, norms = candidate
        total = 0.0
        for ref_length, ref_vectors, ref_norms in references:
            penalty = math.exp(-((length - ref_length) ** 2) / (2 * SIGMA**2))
            for v, norm, r, ref_norm in zip(vectors, norms, ref_vectors, ref_norms, strict=True):
                if norm and ref_norm:
                    clipped = sum(min(v[g], r[g]) * r[g] for g in v.keys() & r.keys())
                    total += penalty * clipped / (norm * ref_norm)
        return 10 * total / (MAX_N * len(references))


def bleu4(candidates: Captions, references: Sequence[Captions]) -> float:
    """Corpus BLEU-4 (Papineni et al. 2002), 0..1, unsmoothed; closest reference length, the
    shorter one on a tie."""
    matched, possible = np.zeros(MAX_N), np.zeros(MAX_N)
    length = ref_length = 0
    for candidate, captions in zip(candidates, references, strict=True):
        tokens, refs = words(candidate), [words(c) for c in captions]
        length += len(tokens)
        ref_length += min((abs(len(r) - len(tokens)), len(r)) for r in refs)[1]
        for n in range(1, MAX_N + 1):
            counts, ceiling = ngrams(tokens, n), Counter()
            for r in refs:
                ceiling |= ngrams(r, n)
            matched[n - 1] += (counts & ceiling).total()
            possible[n - 1] += counts.total()
    if not matched.all():
        return 0.0
    brevity = min(0.0, 1 - ref_length / length)
    return math.exp(brevity + np.log(matched / possible).mean())


def bootstrap_interval(
    differences: np.ndarray, num_draws: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of the mean of paired differences (N,)."""
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(differences), (num_draws, len(differences)))
    low, high = np.quantile(differences[draws].mean(1), (0.025, 0.975))
    return float(low), float(high)
