"""A brake on guessing: how many failed attempts one peer may make in a while."""

from __future__ import annotations

from collections import OrderedDict, deque


class FailureLimit:
    """Counts failures per peer over a sliding window.

    The tokens' 256-bit secrets need no brake to be safe from guessing; this one keeps a faulty or
    hostile peer from filling the log and the disk queue. At most `max_peers` are remembered, the
    longest unheard one is forgotten first. Pure: the time is passed in.
    """

    def __init__(
        self, *, max_failures: int = 10, window_ms: int = 60_000, max_peers: int = 1024
    ) -> None:
        self._max_failures = max_failures
        self._window_ms = window_ms
        self._max_peers = max_peers
        self._failures: OrderedDict[str, deque[int]] = OrderedDict()

    def blocks(self, peer: str, now_ms: int) -> bool:
        """Whether `peer` has used up its failures for now."""
        times = self._failures.get(peer)
        if times is None:
            return False
        while times and times[0] <= now_ms - self._window_ms:
            times.popleft()
        if not times:
            del self._failures[peer]
        return len(times) >= self._max_failures

    def record(self, peer: str, now_ms: int) -> None:
        """Count one failure of `peer`."""
        times = self._failures.setdefault(peer, deque(maxlen=self._max_failures))
        times.append(now_ms)
        self._failures.move_to_end(peer)
        while len(self._failures) > self._max_peers:
            self._failures.popitem(last=False)
