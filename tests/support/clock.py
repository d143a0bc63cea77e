"""A clock that tests move."""

from schemas.timestamps import parse_iso_ms

START = "2026-02-03T12:01:00.000Z"
"""A minute after the first of the events that the rig logs was received."""


class Clock:
    """Wall and monotonic time; both stand still until they are told to go."""

    def __init__(self, start: str = START) -> None:
        started_ms = parse_iso_ms(start)
        assert started_ms is not None
        self._wall_ms = self._started_ms = started_ms
        self._monotonic_s = 1_000.0

    def wall_ms(self) -> int:
        """Milliseconds since the epoch."""
        return self._wall_ms

    def elapsed_ms(self) -> int:
        """Milliseconds since the epoch, had nobody set the clock."""
        return self._started_ms + round((self._monotonic_s - 1_000.0) * 1000)

    def monotonic(self) -> float:
        """Seconds since some time."""
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._wall_ms += round(seconds * 1000)
        self._monotonic_s += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock, as no time passes."""
        self._wall_ms += round(seconds * 1000)
