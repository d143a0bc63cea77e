"""Every named point of ``gateway/faults.py``, struck one by one: is anything lost, counted twice or sent out of order?

``python -m tests.faults`` runs real gateways on one store under load and armed: for each point that stands in the code
(``points.py`` reads them from it) one that is killed there, one where it fails, one where it hangs; after each another
one goes on. At the end everything is drained, and ``tests/crashes/verdict.py`` asks.

56 points; 162 cases in a running gateway (54 points killed, failing, hanging), the two points of migrations in
``test_migrating.py``: all struck, 0 lost, the account adds up. Kills and errors take two minutes, hangs two more; a
slow machine takes longer, and misses none: ``tours.py``.
"""
