"""A signal that one frame alone raises, held for a while: the gate wants two of three frames."""


class Held:
    """The highest of the last `held_s` seconds; 0 holds nothing."""

    def __init__(self, held_s: float):
        self.held_s = held_s
        self._raised: list[tuple[float, float]] = []   # falling: none lower before a higher one

    def take(self, t: float, value: float) -> float:
        since = t - self.held_s
        higher = [(at, raised) for at, raised in self._raised if at >= since and raised > value]
        self._raised = [*higher, (t, value)]
        return self._raised[0][1]

    def clear(self) -> None:
        self._raised.clear()

    def __len__(self) -> int:
        return len(self._raised)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Held) and vars(self) == vars(other)
