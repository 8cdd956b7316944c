"""Limits of spans (or bytes) per second. All are told the time, in seconds of any clock that goes forward."""


class Bucket:
    """A bucket of tokens that fills at `rate` a second, up to `burst`."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = float("-inf")

    def take(self, amount: int, now: float) -> bool:
        """Take `amount` tokens if they are there."""
        if self._at == float("-inf"):
            self._at = now
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if amount > self._left:
            return False
        self._left -= amount
        return True


class PerSecond:
    """At most so many in each second of the clock; 0 or less is no limit."""

    __slots__ = ("_most", "_second", "_taken")

    def __init__(self, most: int) -> None:
        self._most = most
        self._second = -1
        self._taken = 0

    def take(self, amount: int, now: float) -> bool:
        """Count `amount` if it fits into what is left of this second."""
        if self._most <= 0:
            return True
        if int(now) != self._second:
            self._second, self._taken = int(now), 0
        if self._taken + amount > self._most:
            return False
        self._taken += amount
        return True
