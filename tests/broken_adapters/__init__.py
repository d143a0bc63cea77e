"""One broken adapter for each clause of the conformance suite, and the sound one they are all made of.

``tests/adapters/test_broken_adapters.py`` shows that each breaks its own clause and no other. A module may say

- ``believes_itself = True``: its ``expected.json`` and ``dedupe`` are what it makes itself, as its author would have
  written them;
- ``spoil(folder)``: what to change in a copy of the fixtures.
"""
