"""What every adapter must hold to, as clauses: ``gateway.testing`` turns them into tests.

::

    cases.py      fixture folders → recorded requests, with the source they were sent to
    subject.py    the adapter under test, its cases, and the ways to put requests to it; what a clause is
    facts.py      clauses about what the adapter says of itself
    proof.py      clauses about verify: who gets in
    mapping.py    clauses about normalise: what a body becomes
    identity.py   clauses about ids, order, and what must stay inside
    purity.py     clauses about clock, randomness, network, and the samples
"""
