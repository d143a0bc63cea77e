"""Requests that nobody proved: genuine ones of every provider, changed in one way each, and how many get in.

``genuine.py`` makes and collects the genuine ones, ``forging.py`` knows the ways to change them, ``judging.py`` counts
who gets in: by ``receive()`` most of them, and a share through a running gateway. One is one too many.

    python -m tests.forgeries --count 100000 --seed 1

The long run, ``--count 10000000 --seed 2``: 0 of 10 200 000 accepted, 102 528 genuine ones all were; 23 minutes on two
busy cores.

The control runs along: every hundredth request is a genuine one and must be accepted; and ``test_forgeries.py`` weakens
one check at a time and sees that the run notices.
"""
