"""Power cuts under load: is anything lost that was answered 200?

kill -9 of a store shows nothing about durability: what it has written is in the system's memory, and stays. Here the
processes run on a disk watched by a preload shim (``shim.c``). It writes down how to undo each change, and which
an fsync has covered. At a cut all processes are killed at once and what was not synced is undone, or, as chance has it,
only a later part of it, with the next write torn: what a power cut leaves.

``python -m tests.power --cuts 5 --seed 1`` runs the crash run (``tests/crashes``) with power cuts instead of kills: at
moments the seed decides, while the gateway starts, serves, spools, drains its spool, or its store rewrites the log.
Then all is drained and compared. After it comes the control, the same with ``appendfsync everysec``: if it loses
nothing acknowledged, the cuts cut nothing, and that is wrong. Exit code 0 if nothing is wrong.

Long runs, on two busy cores: ``--cuts 200 --rate 2000 --seed 12``, a quarter of an hour, without a spool: 0 lost
of 149 670 acknowledged, 406 MB of unsynced bytes taken; its control lost 1 691 of 2 691. ``--cuts 60 --rate 1000 --seed
21``, two and a half minutes: 0 lost of 68 027, of which 42 770 were answered from the spool; its control lost 1 927 of
2 427.

======================  ===============================================================================================
``__main__.py``         the command line and the table
``run.py``              the run: who is killed when
``disk.py``             the disk after a cut
``shim.c``              inside the processes: what can be undone, and what is synced
``wall_clock.py``       a wall clock that a test sets
``clock.c``             its shim, inside the processes
======================  ===============================================================================================
"""
