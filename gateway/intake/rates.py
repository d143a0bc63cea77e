"""How many requests a source may send, and how many of them without a proof."""

import math

BURST_S = 1.0
"""After a pause, this much of the rate may come at once; never less than one request."""

REJECTED_PER_S = 1_000.0
"""Of one source. Further ones are rejected as well, and counted, but their answers wait for ``REJECTED_WAIT_S``: a
sender that waits for its answers, and forges, has then less of the processor than those that do not."""

REJECTED_WAIT_S = 0.25


class Bucket:
    """A token bucket. Times are seconds of any clock that does not go back."""

    __slots__ = ("_at_s", "_most", "_tokens", "rate_per_s")

    def __init__(self, rate_per_s: float, now_s: float) -> None:
        self.rate_per_s = rate_per_s
        self._most = max(1.0, rate_per_s * BURST_S)
        self._tokens = self._most
        self._at_s = now_s

    def wait_s(self, now_s: float) -> float:
        """How long until the next may come; 0: now."""
        self._tokens = min(self._most, self._tokens + (now_s - self._at_s) * self.rate_per_s)
        self._at_s = now_s
        return max(0.0, (1 - self._tokens) / self.rate_per_s)

    def take(self, now_s: float) -> bool:
        """One comes. False if it comes too early, and then nothing was taken."""
        if self.wait_s(now_s) > 0:
            return False
        self._tokens -= 1
        return True

    def retry_after_s(self, now_s: float) -> int:
        """What to tell a sender that came too early, in whole seconds."""
        return max(1, math.ceil(self.wait_s(now_s)))
