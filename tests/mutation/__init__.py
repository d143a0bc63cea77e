"""Do the tests notice when the code that proves, deduplicates, settles and guards is wrong?

``python -m tests.mutation`` makes many small mistakes, one at a time, in a copy of the tree, and runs the fast tests of
that part on each. A mistake that no test notices is a *survivor*. ``python_mutants.py`` and ``lua_mutants.py`` make the
mistakes, ``targets.py`` says where and which tests judge, ``equivalent.toml`` lists those that change nothing anybody
could notice, each with its reason.

What was judged so far, on a machine that was busy with other work:

====================================  =======  ======  =========  ========  =======
run                                   mutants  judged  timed out  survived    score
====================================  =======  ======  =========  ========  =======
``--most 160 --seed 1``                 2,113     160          3        12   92.5 %
``--most 150 --seed 2``                 2,108     150          3         6   96.0 %
====================================  =======  ======  =========  ========  =======

The second sample was drawn after tests had been written for what the first had shown. Since then tests were written for
what it showed, too, or its survivors entered as equivalent: these samples, drawn again, say nothing new. Of the guard
every mutant was judged once; what survived was judged again after tests had been written for it. Of the other parts
nobody has judged all yet; ``python -m tests.mutation`` without ``--most`` does it, in half an hour or more.
"""
