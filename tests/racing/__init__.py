"""Copies of one event that race each other into the log, while replies of the store are lost: does one get in twice?

Several committers, as several processes have them, each with its own way to one store; every event comes as many copies
at once, spread over them by chance; the ways lose replies and break. ``run.py`` is the race, ``verdict.py`` the judge.

    python -m tests.racing --rounds 10000 --seed 1

The longest run so far, ``--rounds 30000 --seed 2``: 0 second entries of 30 000 events in 1 500 000 copies, with
3 261 replies lost; 139 s on two busy cores.
"""
