"""What every adapter must hold to, as clauses: ``gateway.testing`` turns them into tests.

::

    cases.py      fixture folders → recorded requests, with the source they were sent to
    subject.py    the adapter under test, its cases, and the ways to put requests to it; what a clause is
    facts.py      clauses about what the adapter says of itself
    recorded.py   clauses about what a case records beside its events
    proof.py      clauses about verify: who gets in
    comparing.py  clauses about how verify compares
    mapping.py    clauses about normalise: what a body becomes
    identity.py   clauses about ids, order, and what must stay inside
    purity.py     clauses about clock, randomness, network, and the samples
"""
