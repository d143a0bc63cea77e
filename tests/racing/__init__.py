"""Copies of one event that race each other into the log, while replies of the store are lost: does one get in twice?

Several committers, as several processes have them, each with its own way to one store; every event comes as many copies
at once, spread over them by chance; the ways lose replies and break. ``run.py`` is the race, ``verdict.py`` the judge.

    python -m tests.racing --rounds 10000 --seed 1
"""
