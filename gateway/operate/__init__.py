"""What operators see: the API, the page, the metrics, the audit.

``sight.py`` holds what questions are answered from; ``desk.py`` is every question in one place. Behind it a file for
each: ``status.py`` (with ``waiting.py`` and ``troubles.py``), ``search.py``, ``states.py``, ``dead.py``, ``kept.py``,
``auditing.py`` (around ``audit.py``). They return the shapes of ``views.py``, with secrets masked by ``masking.py``,
lists cut by ``paging.py`` and continued by ``cursor.py``.

Before it stands ``gate.py``: nobody unproven gets in (``access.py``). What goes wrong becomes a problem in
``refusals.py``. Three ways lead to the desk: ``api/``, ``dashboard/`` and ``metrics.py``; ``health.py`` alone is open.
"""
