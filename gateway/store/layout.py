"""Every key of the store: what it is, who writes it, who trims it.

The store is Redis ≥ 7.0 or Valkey ≥ 8. Two of its structures do the work. A *stream* is a list of entries with growing
ids that can be read from any place; ours is the log. A *script* runs as one step: nothing comes in between, and after a
crash it happened whole or not at all. So everything that must change together is changed by one script.

Everything that changes together also lives in one *partition*. A partition's keys start with the same hash tag
(``{0}``), so that a cluster would keep them on one node. An event belongs to the partition of its source and ordering
key.

The log. ``{0}:log`` is a stream; an entry's id is ``<sequence number>-0``, its fields are ``e`` (the event as JSON,
without raw) and ``r`` (raw as JSON). Sequence numbers start at 1 and have no holes: that makes counting exact. A cursor
is one number, "how many has this subscriber not read" is a subtraction, and an entry that somebody deleted is noticed.

=================================  ========  =====================================================================
key                                written   what
=================================  ========  =====================================================================
``{n}:state``                      commit,   hash. ``format`` ``partitions`` ``seq`` (last sequence number)
                                   lease,    ``log_bytes`` ``trimmed`` (entries trimmed so far)
                                   trim      ``rejected_bytes``; lease: ``owner`` ``epoch`` ``lease_until_ms``;
                                             ledger: ``q:<source>:<accepted|ignored|quarantined|rejected>`` and
                                             ``e:<source>:<produced|logged|duplicate>``; ``l:<source>``
                                             (``received_at`` of its latest event here); ``t:<source>`` (for how many
                                             seconds its marks live, blank, the first sequence number since which
                                             they all do); in the first partition ``subscribers_version``, counted up
                                             with ``subscribers``, and ``migrator`` ``migrator_until_ms`` while the
                                             format is changed
``{0}:subscribers``                API       hash: name → JSON of the settings as written, of subscribers made through
                                             the API, or ``FORGETTING``; secrets by reference only. In the first
                                             partition alone
``{0}:versions``                   opening   hash: version of the gateway → when it last opened the store, in ms. In the
                                             first partition alone
``{n}:log``                        commit    the log; trimmed by trim
``{n}:seen:<event id>``            commit    sequence number; expires after the longest of dedupe window, the
                                             provider's retry horizon and the retention; with ``t:<source>``
                                             that tells when it was made. Also the look-up by id
``{n}:committer:<id>``             commit    ``<batch number>:<reply>`` of the last batch of one committer, so that
                                             repeating a batch whose reply was lost changes nothing; also what
                                             tells which batches of the spool are in already
``{n}:subs``                       settle    set of the names of all subscribers that ever had a cursor here
``{n}:sub:<name>``                 settle    hash. ``start`` (sequence number at which it subscribed) ``cursor``
                                             ``delivered`` ``filtered`` ``discarded`` ``dead_bytes`` ``since_ms``
                                             ``firsts_bytes``
                                             ``given_up`` (of the discarded, what nobody asked for) ``given_up_ms``
                                             ``settle`` ``settle_reply`` (as the committer's, for settle)
                                             ``paused`` (why); in the first partition alone ``breaker`` (JSON,
                                             ``BreakerState``); ``retries``
                                   dead      (counted up when dead letters are tried again: a lane then asks which
                                             keys are held)
``{n}:sub:<name>:parked``          settle    hash: sequence number → JSON (``Parked``); by reference, no copy
``{n}:sub:<name>:due``             settle    sorted set: sequence number by due time in ms; same members as parked
``{n}:sub:<name>:held``            settle    hash: sequence number → key hash, of events behind a parked one; of one
                                   dead      that was tried before also a blank and JSON (``Parked``)
``{n}:sub:<name>:key:<hash>``      settle    list of sequence numbers of one ordering key: first the parked one, then
                                             the held ones, all in log order. Exists only while that key is held.
                                   dead      A retried dead letter takes its place in it
``{n}:sub:<name>:dead``            settle    hash: sequence number → JSON (``DeadLetter``), newline, last answer
``{n}:sub:<name>:died``            settle    sorted set: sequence number by time of death in ms; same members as dead
``{n}:sub:<name>:history``         settle    stream: ``s`` sequence number, ``h`` JSON (``Late``), of events
                                             delivered after more than one attempt; the newest 10 000
``{n}:sub:<name>:firsts``          settle    stream: under the sequence number a cursor moved to, ``f``: the first
``{n}:sub:<name>:firsts:before``             attempts among what it passed that were answered 2xx (``firsts.py``). Full
                                             at 192 KiB; then it is renamed, and what had that name is gone
``{0}:replays``                    replay    hash: replay id → version, blank, JSON (``Replay``); the newest 200, all in
                                             partition 0. ``{0}:replays:open``: the set of those that are to run.
                                             ``{0}:replays:totals``: hash, what all of them did, the gone ones too
``{0}:alerts``                     alerts    hash: ``watch`` JSON (``Watch``); ``alert:<kind>:<subject>`` JSON of each
                                             alert (``Standing``). In the first partition alone
``{0}:changes``                    API       stream: ``c`` JSON (``Change``): who changed what; the newest 10 000, in
                                             the first partition alone
``{0}:logins``                     pages     hash: SHA-256 of the secret → JSON (``Visit``), of login links that were
``{0}:sessions``                             not used and of browsers that logged in; at most 64 and 256. In the first
                                             partition alone
``{0}:deliverers``                 share     sorted set: processes that would deliver, by the time until which they said
                                             so. In the first partition alone
``{0}:wanted``                     trim      sorted set: subscribers that some gateway has in its configuration, and
                                             after ``!`` one that was deleted, by the time until which that was said
                                             (``wanted.py``). In the first partition alone
``{n}:quarantine``                 commit    stream: ``m`` JSON (``Kept``), ``b`` exact body
``{n}:rejected``                   commit    the same, sampled and capped in bytes
=================================  ========  =====================================================================

Quarantine and rejected hold bodies as they came and may hold secrets: for operators only, never forwarded.

A subscriber that was deleted leaves its keys behind, unless it is to be forgotten: then they go, whoever is killed.

What ends: ``seen`` and ``committer`` by expiry, ``log`` by retention and never before every subscriber is done with an
entry, ``quarantine`` by retention or an operator, ``rejected`` by its cap.
"""

import hashlib
from binascii import crc_hqx

FORMAT = 1
"""The number of this layout, kept in the store. Another number is refused, not guessed at."""

SLOTS = 16_384
"""Hash slots of a cluster (Redis cluster specification)."""


def slot(tag: str) -> int:
    """The cluster's hash slot of a tag: CRC-16/XMODEM modulo 16 384."""
    return crc_hqx(tag.encode(), 0) % SLOTS


def tags(partitions: int) -> list[str]:
    """The hash tags of all partitions, chosen so that their slots spread evenly over a cluster.

    The first is ``0`` whatever the number, so that a store can be asked how many partitions it was made with.
    """
    found = ["0"]
    for number in range(1, partitions):
        low, high = number * SLOTS // partitions, (number + 1) * SLOTS // partitions
        shift = slot("0")  # ranges are counted from where the first one happens to lie
        suffix = 0
        while not low <= (slot(f"{number}-{suffix}") - shift) % SLOTS < high:
            suffix += 1
        found.append(f"{number}-{suffix}")
    return found


def partition_of(source: str, ordering_key: str | None, event_id: str, partitions: int) -> int:
    """Where an event belongs: by its source and ordering key, or by its id where it has no order."""
    if partitions == 1:
        return 0
    digest = hashlib.blake2b(f"{source}\0{ordering_key or event_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % partitions


def key_hash(source: str, ordering_key: str) -> str:
    """The short name of an ordering key in the names of lists: 16 hex digits. Keys of two sources never meet."""
    return hashlib.blake2b(f"{source}\0{ordering_key}".encode(), digest_size=8).hexdigest()


class SubscriberKeys:
    """The keys of one subscriber in one partition."""

    __slots__ = (
        "all",
        "dead",
        "died",
        "due",
        "firsts",
        "firsts_before",
        "held",
        "history",
        "key_prefix",
        "name",
        "parked",
        "sub",
    )

    def __init__(self, prefix: str, name: str) -> None:
        self.name = name
        self.sub = f"{prefix}:sub:{name}"
        self.parked = f"{self.sub}:parked"
        self.due = f"{self.sub}:due"
        self.held = f"{self.sub}:held"
        self.dead = f"{self.sub}:dead"
        self.died = f"{self.sub}:died"
        self.history = f"{self.sub}:history"
        self.firsts = f"{self.sub}:firsts"
        self.firsts_before = f"{self.firsts}:before"
        self.key_prefix = f"{self.sub}:key:"
        self.all = (
            *(self.sub, self.parked, self.due, self.held, self.dead, self.died, self.history),
            *(self.firsts, self.firsts_before),
        )


class Keys:
    """The keys of one partition."""

    __slots__ = (
        "alerts",
        "changes",
        "committer_prefix",
        "deliverers",
        "log",
        "logins",
        "prefix",
        "quarantine",
        "rejected",
        "replays",
        "replays_open",
        "replays_totals",
        "seen_prefix",
        "sessions",
        "state",
        "subs",
        "subscribers",
        "versions",
        "wanted",
    )

    def __init__(self, tag: str) -> None:
        self.prefix = "{" + tag + "}"
        self.state = f"{self.prefix}:state"
        self.versions = f"{self.prefix}:versions"
        self.log = f"{self.prefix}:log"
        self.seen_prefix = f"{self.prefix}:seen:"
        self.committer_prefix = f"{self.prefix}:committer:"
        self.subs = f"{self.prefix}:subs"
        self.subscribers = f"{self.prefix}:subscribers"
        self.alerts = f"{self.prefix}:alerts"
        self.changes = f"{self.prefix}:changes"
        self.deliverers = f"{self.prefix}:deliverers"
        self.wanted = f"{self.prefix}:wanted"
        self.logins = f"{self.prefix}:logins"
        self.sessions = f"{self.prefix}:sessions"
        self.replays = f"{self.prefix}:replays"
        self.replays_open = f"{self.prefix}:replays:open"
        self.replays_totals = f"{self.prefix}:replays:totals"
        self.quarantine = f"{self.prefix}:quarantine"
        self.rejected = f"{self.prefix}:rejected"

    def subscriber(self, name: str) -> SubscriberKeys:
        """The keys of the subscriber ``name`` here."""
        return SubscriberKeys(self.prefix, name)
