"""Do the tests notice when the code that proves, deduplicates, settles and guards is wrong?

``python -m tests.mutation`` makes many small mistakes, one at a time, in a copy of the tree, and runs the fast tests of
that part on each. A mistake that no test notices is a *survivor*. ``python_mutants.py`` and ``lua_mutants.py`` make the
mistakes, ``targets.py`` says where and which tests judge, ``equivalent.toml`` lists those that change nothing anybody
could notice, each with its reason.
"""
