"""How much of the picture moves: a cheap pixel signal, independent of the model.

Pictures are shrunk by area averaging with OpenCV, which hides sensor noise, and compared in grey.
"""
import numpy as np

SIZE = (64, 48)
DARK, FLAT = 20, 6   # grey levels: mean, and standard deviation
STEP = 12   # grey levels by which a cell must change to count as moving


class MotionMeter:
    """Fraction of the picture's cells, 0..1, that changed since the picture before."""

    def __init__(self) -> None:
        self._previous: np.ndarray | None = None

    def reset(self) -> None:
        self._previous = None

    @property
    def covered(self) -> bool:
        """Whether the newest picture shows next to nothing: dark all over, as behind a hand."""
        grey = self._previous
        return grey is not None and float(grey.mean()) < DARK and float(grey.std()) < FLAT

    def update(self, image: np.ndarray) -> float:
        """`image` RGB (H, W, 3) uint8; 0 for the first one."""
        grey = _small(image)
        share, self._previous = self._against(grey), grey
        return share

    def share(self, image: np.ndarray) -> float:
        """The same, but the picture before stays what the next one is compared with."""
        return self._against(_small(image))

    def _against(self, grey: np.ndarray) -> float:
        if self._previous is None:
            return 0.0
        return float((np.abs(grey - self._previous) > STEP).mean())


def _small(image: np.ndarray) -> np.ndarray:
    """(48, 64) int16. OpenCV is looked for here: an engine that never asks runs without it."""
    import cv2

    small = cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.int16)
