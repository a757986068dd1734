"""ReKV: every frame's keys and values are kept outside, and a question retrieves the frames."""
from dataclasses import dataclass

from streamassist.memory.retrieval import Retrieval


@dataclass
class ReKV(Retrieval):
    """In-context video KV retrieval, ReKV, arXiv 2503.00540, section 3: frames are prefilled on a
    sliding window; those that leave it are stored; a frame is represented in each layer by the
    mean of its raw keys, and each layer recalls those with the largest dot product with the mean
    raw query of the question, in order of time at consecutive positions.

    Unlike the paper, the store has a cap (full, it forgets the frame most like the next one: our
    inference), the newest frames are always read, and the question asks once (`Retrieval`). The
    paper's window is 15,000 tokens and it recalls 64 frames of 196; here both share `budget`.
    """
