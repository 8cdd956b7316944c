"""What a peer may make us do for nothing."""

_BURST = 2000.0
_PER_SECOND = 200.0


class Patience:
    """Counts frames that bring nothing: pings, settings, resets, empty data. They are cheap to send, not to answer.

    So many at once, and so many a second: clients at work stay a hundred times below.
    """

    def __init__(self, burst: float = _BURST, per_second: float = _PER_SECOND) -> None:
        self._burst = burst
        self._per_second = per_second
        self._left = burst
        self._at = 0.0

    def spend(self, now: float, cost: float = 1.0) -> bool:
        """Whether there is any left."""
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second) - cost
        self._at = now
        return self._left >= 0

    def earn(self, amount: float = 1.0) -> None:
        """Real work has been done."""
        self._left = min(self._burst, self._left + amount)
