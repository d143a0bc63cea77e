"""The webhook gateway: the way of one webhook, room by room.

A provider sends a *request*. ``intake/endpoint.py`` takes it from the socket: it caps and reads the body once, looks
the *source* up by the path, and asks ``intake/pipeline.py`` what it is. That is pure code: the source's *adapter*
(``adapters/``) proves the request and maps it into canonical *events* (``schemas/event.py``). Four outcomes: events,
*ignored*, *quarantined* (proven, not mappable: kept), *rejected* (not proven: 401).

``intake/committer.py`` gathers what many requests bring into one batch, one round trip, one fsync:
``store/lua/commit.lua`` marks each event id as seen, gives it a sequence number and appends it to its partition's
*log*, in one step. While the store cannot take it, ``intake/spool.py`` keeps the batch in a file, and
``intake/draining.py`` commits it when the store is back. Only then is the provider answered 200. **From here on the
event is on disk**, in ``{n}:log`` (``store/layout.py`` tells every key).

``delivery/dispatcher.py`` holds the lease of a partition and reads its log once for all *subscribers* that keep up.
``delivery/matching.py`` says which of them want an event by its type, ``delivery/condition.py`` which of those after a
look inside; for the rest it is *filtered*. Each subscriber has a ``delivery/lane.py``, which hands events to
``delivery/attempt.py``: put into the subscriber's form (``delivery/formats.py``), sign, connect where
``delivery/guard.py`` allows, POST, classify. ``delivery/schedule.py`` turns the outcome into delivered, *parked* until
its next attempt, or *dead letter*. Then ``store/lua/settle.lua`` moves the subscriber's cursor, with its counts, in one
compare-and-swap.

What is in the log can be sent again: ``delivery/replay.py`` does it, marked, at a rate, and in no account.

So where is a webhook?

====================================  ==================================================================
before the 200                        with the provider, who will send it again
after the 200                         in ``{n}:log``
or, while the store is away           in a file of the spool (*spooled*), until it is drained into the log
the subscriber has not got to it      behind the cursor in ``{n}:sub:<name>`` (*pending*)
an attempt failed                     in ``{n}:sub:<name>:parked``, due at ``…:due`` (*pending*)
it waits behind a parked one          in ``{n}:sub:<name>:key:<hash>`` (*held*, *pending*)
every attempt failed                  in ``{n}:sub:<name>:dead`` (*dead letter*), until somebody retries or drops it
delivered or filtered                 in ``{n}:log`` until its retention ends; counted in ``{n}:sub:<name>``
proven but not mappable               in ``{n}:quarantine``
not proven                            counted, and a sample of the bytes in ``{n}:rejected``
====================================  ==================================================================

``operate/`` answers questions about all this (API, page, metrics, audit), ``cli/`` is the command, ``simulator/`` plays
providers and a subscriber, ``config.py`` has the settings and ``config_file/`` reads them, ``app.py`` wires everything
and decides nothing; ``start_stop.py`` starts and stops what it has wired, ``routes.py`` lists what it answers over
HTTP. ``workers/`` is how it runs: as one process, or as several on one socket, with a parent that starts them.

Words: provider, adapter, source, request, event, log, subscriber, delivery (event × subscriber), attempt, parked, held,
pending, dead letter, discarded, filtered, quarantine, rejected, ignored, spooled. No synonyms.

Imports run one way, ``schemas ← adapters ← gateway``, and a test keeps it so.
"""
