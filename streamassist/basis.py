"""A running orthonormal basis of what was seen (CausalMem, arXiv 2606.25658): how new is a token?

The score of a token x is the norm of x - U U'x. U holds at most `rank` directions, gains up to 8 a
frame, and its energies decay by 0.9. Directions seen again regain energy (our inference).
"""
from dataclasses import dataclass

import torch
from torch import Tensor

DECAY = 0.9        # of the energies of the basis, and of the usual score
GAIN = 8           # directions a frame may add
FAINT = 1e-4       # of the strongest energy in a frame: below is rounding
FLOOR = 1e-3       # of the tokens' norm: a usual score is never less


@dataclass
class RunningBasis:
    rank: int = 256
    vectors: Tensor | None = None   # (k, D)
    energy: Tensor | None = None    # (k,)
    usual: float | None = None

    def novelty(self, rows: Tensor) -> Tensor:
        """(N, D) float32 -> (N,): what the basis leaves of each token, against what it usually
        leaves; then the basis learns them."""
        if self.vectors is None or self.vectors.shape[1] != rows.shape[1]:
            self.vectors, self.energy = rows.new_zeros(0, rows.shape[1]), rows.new_zeros(0)
        along = rows @ self.vectors.T
        rest = rows - along @ self.vectors
        rest = rest - (rest @ self.vectors.T) @ self.vectors   # once more, against rounding
        score, floor = rest.norm(dim=1), FLOOR * float(rows.norm(dim=1).mean())
        mean = float(score.mean())
        usual = max(mean if self.usual is None else self.usual, floor, torch.finfo().tiny)
        self.usual = DECAY * usual + (1 - DECAY) * mean
        self._learn(along, rest)
        return score / usual

    def _learn(self, along: Tensor, rest: Tensor) -> None:
        """Energies of known directions, and the strongest new ones of the rest (N, D)."""
        power, mix = torch.linalg.eigh(rest @ rest.T)   # ascending
        known = DECAY * self.energy + along.pow(2).sum(0)
        strongest = max(float(power[-1]), float(known.max()) if len(known) else 0.0)
        power, mix = power[-GAIN:], mix[:, -GAIN:]
        real = power > max(FAINT**2 * strongest, torch.finfo().tiny)
        power, mix = power[real], mix[:, real]
        found = (rest.T @ mix / power.sqrt()).T
        energy = torch.cat((known, power))
        keep = energy.topk(min(self.rank, len(energy))).indices
        self.vectors, self.energy = torch.cat((self.vectors, found))[keep], energy[keep]
