"""One module per provider: how its requests are proven and what they mean. Pure: no socket, no clock, no log.

Start with ``contract.py``: it is both the interface and the guide for adding a provider. ``registry.py`` finds the
adapters; ``engium.py``, ``aivo_engage.py``, ``enviaai.py``, ``flexengage.py`` and ``generic_chat.py`` are the ones that
come along. What they share: ``decoding.py`` (bytes → values), ``reading.py`` (values → checked values), ``proving.py``
(HMACs), ``sampling.py`` (fresh bodies for the simulator). Imports run ``schemas ← adapters ← gateway``, never back.
"""
