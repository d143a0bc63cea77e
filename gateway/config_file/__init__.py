"""How ``gateway.toml`` is read: strictly, and with every mistake in one go.

::

    document.py     the file → tables, each key with its line, the .env beside it     (the only module that reads files)
    lines.py        which line a key stands on, which the standard library's parser does not say
    references.py   env:NAME, file:path, credential:name → the secret, and where it came from
    values.py       one function per form a value may have: duration, size, rate, network, …
    section.py      one table of the file: reads key by key, collects mistakes and origins
    tables.py       [gateway], [store]
    sources.py      [sources.*], checked against what the adapter says it understands
    subscribers.py  [subscribers.*]
    effective.py    the settings in force, each with its origin

``gateway.config`` has the classes these become, and ``load``, which everybody calls.
"""
