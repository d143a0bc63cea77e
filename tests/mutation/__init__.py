"""Do the tests notice when the code that proves, deduplicates, settles and guards is wrong?

``python -m tests.mutation`` makes many small mistakes, one at a time, in a copy of the tree, and runs the tests of that
part on each, until one fails. A mistake that no test notices is a *survivor*. ``python_mutants.py`` and
``lua_mutants.py`` make the mistakes, ``targets.py`` says where and which tests judge, ``jury.py`` who is asked first,
``equivalent.toml`` lists those that change nothing anybody could notice, each with its reason.

The whole of each part, judged on two cores that were busy with other work:

===========  =======  ==========  ======  =========  ========  =======  ======  =======================================
part         mutants  equivalent  judged  timed out  survived    score  s each  before tests were written for survivors
===========  =======  ==========  ======  =========  ========  =======  ======  =======================================
``verify``       442          13     429          0         0  100.0 %    1.41  20 of 439 survived
``dedupe``       790          31     759         --         0  100.0 %      --  21 of about 500; 15 of 361 in later code
``settle``     1,039          34   1,005          7         4   99.6 %    2.04  60 of 1,013
``guard``        339          23     310         --         0  100.0 %      --  0 of 299; 10 of 82 in a new file
===========  =======  ==========  ======  =========  ========  =======  ======  =======================================

The last column is what the tests noticed that were written without looking at mutants; the others are of the run after
that. What survived there has since got its test, or its reason in the list. The run of ``guard`` ended before its last
six mutants: earlier runs have judged them. That of ``dedupe`` is put together: after the whole part (557, at 3.62 s
each) came all of the committer (259, of which 91 timed out, at 9.57 s each), what was new in ``commit.lua`` (102), and
after their tests once more whatever had survived or was written for it. Of those 361 another 17 survived that are on
the list now, and five in what a protocol declares, which never runs. Code that was written after a part's run (a few
mutants of ``settle``) has been judged by nothing yet but the sample of each change's CI.
"""
