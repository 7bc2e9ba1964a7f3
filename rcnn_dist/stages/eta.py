"""How fast images get done and when the rest will be: from the times at which work ended, whoever kept them."""

from collections import deque

WINDOW_S = 600.0
MIN_EVENTS = 20


class RateEstimator:
    """Images per second over the last ten minutes, or over the last twenty events where those took longer.

    Law: shifting all times by a constant changes nothing.
    """

    def __init__(self, start: float | None = None) -> None:
        self._events: deque[tuple[float, int]] = deque()  # (time, images); the first is where the clock starts and does not count
        if start is not None:
            self._events.append((start, 0))

    def add(self, time: float, images: int) -> None:
        """Some images were done at a time; times do not go back."""
        self._events.append((time, images))
        while len(self._events) > MIN_EVENTS + 1 and self._events[1][0] < time - WINDOW_S:
            self._events.popleft()

    def rate(self, now: float) -> float | None:
        """Images per second, None while nothing is known; it falls while nothing gets done."""
        if len(self._events) < 2 or now <= self._events[0][0]:
            return None
        done = sum(images for _, images in self._events) - self._events[0][1]
        return done / (now - self._events[0][0]) or None

    def seconds_left(self, images: int, now: float) -> float | None:
        """Seconds until so many more images are done, None while nothing is known."""
        rate = self.rate(now)
        return images / rate if rate else None
