"""All connections of one process: how many there may be, and how long each may take.

One timer looks at all of them a few times within the shortest deadline. A timer for each request, as
``asyncio.timeout`` starts it, took 11 % of the intake's time (measured), though hardly anybody is ever late. The same
look keeps the clock: what a connection notes as "since" is the time of the look's last turn, which costs nothing.

Beyond ``max_connections`` the one that has been without a request for longest makes room. If none has, a few more are
let in, for the operator: what is not for ``/in/`` is answered there, so that no flood of webhooks locks him out.
"""

import asyncio
import os
import resource
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Protocol

import msgspec

LOOKS = 20
"""How often within the shortest deadline the timer looks; whoever is late may be so by twice this part of it, and by
twice as much again where thousands are late together."""

LOOKS_AT_ONCE = 64
ENDS_AT_ONCE = 8
STARTS_AT_ONCE = 8
"""How many, in one turn of the event loop, are looked at, are ended for being late, and begin though their body is not
whole. A thousand that are late together, each with its refusal, would hold up the honest for 50 ms (measured); so each
turn takes a fraction of a millisecond, and what came meanwhile is read before the next."""

PAUSE_S = 0.002
"""Between two such turns of looking and ending. Without it the process is busy all the same for as long as all of them
take, and a store on its CPU waits: three thousand ends made an honest p90 of 1 ms one of 3 to 4 (measured). A look that
has taken as long as two parts ends without: deadlines are kept."""

GIVES_WAY_EVERY = 8
"""So many new connections and pieces of data for one question to the kernel whether somebody waits for our CPU. The
kernel wakes the store where its command came from, which is here; while a burst of connections is taken it would wait
for the next tick, 4 ms, once with the command and once after its fsync (seen with ``perf sched``). To ask costs 0.3 µs.
"""

MOST_BETWEEN_LOOKS_S = 0.5
SPARE_PART = 0.05
LEAST_SPARE = 16
"""How many connections beyond ``max_connections`` are kept for the operator."""

OTHER_FILES = 256
"""Open files of the process that are no sender's connections: to the store, to subscribers, the spool."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """``[gateway]``'s limits of connections."""

    header_timeout_s: float = 10.0
    """From the first byte of a head to its end; of a new connection, from its beginning."""
    body_timeout_s: float = 10.0
    """From the end of the head to the end of the body."""
    idle_timeout_s: float = 75.0
    """From an answer to the next request; also how long an answer may wait for the sender to read."""
    max_connections: int = 4_096


class Place(Enum):
    """What a new connection gets."""

    ORDINARY = 1
    SPARE = 2
    """Beyond the limit: only for what is not a webhook."""
    NONE = 3


class Connection(Protocol):
    """What this needs to know of a connection (``wire.Protocol``)."""

    since_s: float
    """When what it waits for began, by ``Connections.now_s``."""

    def look(self, now_s: float) -> bool:
        """End it, if what it waits for is late; whether it was."""
        ...

    def forgive(self, stood_s: float) -> None:
        """So long this process stood still: it is nobody else's lateness."""
        ...

    def start(self) -> None:
        """Begin with what has come of a request."""
        ...

    def is_unused(self) -> bool:
        """Whether it has no whole request in hand."""
        ...

    def make_room(self) -> None:
        """End it at once."""
        ...


class Connections:
    """The connections there are."""

    def __init__(self, limits: Limits, *, give_cpu: Callable[[], None] = os.sched_yield) -> None:
        """``give_cpu`` lets another process have our CPU, if one waits for it."""
        self.limits = limits
        self.now_s = 0.0
        """The event loop's clock, as of a moment ago."""
        self._looking_s = 0.0
        """The same at the beginning of the last look: whoever is late, is so as of then."""
        self._due_s = 0.0
        self._give_cpu = give_cpu
        self._busy = 0
        shortest_s = min(limits.header_timeout_s, limits.body_timeout_s, limits.idle_timeout_s)
        self.look_every_s = min(shortest_s / LOOKS, MOST_BETWEEN_LOOKS_S)
        self._spare = max(LEAST_SPARE, int(limits.max_connections * SPARE_PART))
        self._all: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._looked = True
        self._to_look_at: list[Connection] = []
        self._to_start: deque[Connection] = deque()
        self._unused: deque[tuple[Connection, float]] = deque()
        self._unused_as_of_s = -1.0
        self.refused = 0
        """Connections for which there was no place."""

    def give_way(self) -> None:
        """Something was done for a sender."""
        self._busy += 1
        if self._busy >= GIVES_WAY_EVERY:
            self._busy = 0
            self._give_cpu()

    def __len__(self) -> int:
        return len(self._all)

    def add(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> Place:
        """A new connection; what it may be used for. One that gets no place need not be removed."""
        if self._timer is None:
            self.now_s = self._looking_s = loop.time()
            self._look_later(loop)
        if len(self._all) >= self.limits.max_connections and not self._one_less():
            if len(self._all) >= self.limits.max_connections + self._spare:
                self.refused += 1
                return Place.NONE
            self._all.add(connection)
            return Place.SPARE
        self._all.add(connection)
        return Place.ORDINARY

    def remove(self, connection: Connection) -> None:
        """It has ended."""
        self._all.discard(connection)

    def _one_less(self) -> bool:
        """End the connection that has been without a request for longest; false if each has one, or is new.

        They are sorted once between two looks, so that a flood of new connections does not have all of them sorted for
        each.
        """
        if self._unused_as_of_s != self._looking_s:
            self._unused_as_of_s = self._looking_s
            unused = [(each, each.since_s) for each in self._all if each.since_s < self._looking_s and each.is_unused()]
            self._unused = deque(sorted(unused, key=lambda pair: pair[1]))
        while self._unused:
            connection, since_s = self._unused.popleft()
            if connection in self._all and connection.since_s == since_s and connection.is_unused():
                self._all.discard(connection)
                connection.make_room()
                return True
        return False

    def _look_later(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due_s = loop.time() + self.look_every_s
        self._timer = loop.call_later(self.look_every_s, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._looking_s = loop.time()
        # If this process itself stood still, what came meanwhile is read first: the senders were not late, we were. A
        # long body is not even there yet then: its sender had to wait for us to read.
        stood_s = self._looking_s - self._due_s
        if self._looked and stood_s > self.look_every_s * 2:
            self._looked = False
            for each in self._all:
                each.forgive(stood_s)
        else:
            self._looked = True
            self._to_look_at = list(self._all)
        self._look_on(loop)

    def _look_on(self, loop: asyncio.AbstractEventLoop) -> None:
        ended = 0
        self.now_s = loop.time()
        try:
            for _ in range(min(LOOKS_AT_ONCE, len(self._to_look_at))):
                connection = self._to_look_at.pop()
                if connection in self._all and connection.look(self._looking_s):
                    ended += 1
                    if ended == ENDS_AT_ONCE:
                        break
        finally:  # a defect with one of them must not leave all others without deadlines
            if self._to_look_at:
                takes_long = self.now_s - self._looking_s > 2 * self.look_every_s
                self._timer = loop.call_later(0 if takes_long else PAUSE_S, self._look_on, loop)
            elif self._all:
                self._look_later(loop)
            else:
                self._timer = None

    def start_in_turn(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        """Let it begin after those that wait for the same; requests that came whole do not wait here."""
        self._to_start.append(connection)
        if len(self._to_start) == 1:
            loop.call_soon(self._start_some, loop)

    def _start_some(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            for _ in range(min(STARTS_AT_ONCE, len(self._to_start))):
                self._to_start.popleft().start()
        finally:
            if self._to_start:
                loop.call_soon(self._start_some, loop)


def open_files_for(max_connections: int) -> int:
    """Let this process open as many files as so many connections need; how many connections it can have then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max_connections + max(LEAST_SPARE, int(max_connections * SPARE_PART)) + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return max_connections
    return max(LEAST_SPARE, int((soft - OTHER_FILES) / (1 + SPARE_PART)) - LEAST_SPARE)
