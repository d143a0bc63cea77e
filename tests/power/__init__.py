"""Power cuts under load: is anything lost that was answered 200?

kill -9 of a store shows nothing about durability: what it has written is in the system's memory, and stays. Here the
processes run on a disk watched by a preload shim (``shim.c``). It writes down how to undo each change, and which
an fsync has covered. At a cut all processes are killed at once and what was not synced is undone, or, as chance has it,
only a later part of it, with the next write torn: what a power cut leaves.

``python -m tests.power --cuts 5 --seed 1`` runs the crash run (``tests/crashes``) with power cuts instead of kills: at
moments the seed decides, while the gateway starts, serves, rewrites its log or spools. Then everything is drained and
compared. After it comes the control, the same with ``appendfsync everysec``: if it loses nothing acknowledged, the cuts
cut nothing, and that is wrong.

======================  ===============================================================================================
``__main__.py``         the command line and the table
``run.py``              the run: who is killed when
``disk.py``             the disk after a cut
``shim.c``              inside the processes: what can be undone, and what is synced
======================  ===============================================================================================
"""
