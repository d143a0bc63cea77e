"""Plays the outside: providers that sign, a host that serves a public key, a subscriber that fails now and then.

Each player is a process of its own (``python -m gateway.simulator.<name>``) and knows only what the first line on its
standard input tells it: URLs and secrets. It writes one JSON line for everything it does (``lines.py``) and ends when
its standard input closes, so none outlives who started it (``gateway/lifeline.py``).

==================  ================================================================================================
``provider.py``     the providers: sends rounds of signed requests (``rounds.py``, ``requests.py``), heeds the answers
``key_host.py``     flexengage's key host: serves a public key over TLS (``certificates.py``)
``subscriber.py``   one app downstream: verifies, remembers ids, refuses the first attempt of every nth event
``tether.py``       keeps a command that has no lifeline of its own (the gateway) from outliving its starter
``stage.py``        starts all of them with fresh secrets in a temporary directory, and stops them
``director.py``     runs the demo on that stage, until the round is over or somebody asks for the end (``curtain.py``)
``story.py``        pure: what the players wrote, put together event by event, and the verdict at the end
``book.py``         the gateway's ledger, read over its API
``screen.py``       how that looks (``painting.py``): on a terminal, in a pipe, as JSON
==================  ================================================================================================
"""
