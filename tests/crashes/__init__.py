"""Crashes under load: is anything lost that was answered 200?

``python -m tests.crashes --kills 200 --store-kills 50 --rate 1000 --seed 1`` runs the real thing as real processes: a
provider that sends so many signed requests a second and sends again whatever was not answered 200; ``gateway serve``,
killed with SIGKILL at moments the seed decides (serving, or still starting) and started again at once; its embedded
store, killed in the same way; and two subscribers, one of them in order by key and failing now and then. At the end
everything is drained, and ``verdict.py`` compares what was acknowledged, what is in the log, and what was delivered.

The seed decides the kills and the messages, not the scheduling of the machine: two runs are alike, not equal. Exit code
0 if nothing is wrong. ``tests/test_crashes.py`` runs a short version.

That command, on two cores in 404 s: 189 954 requests acknowledged, 0 lost, 0 logged twice, 0 out of order, 0 delivered
again without a kill. ``--kills 40 --store-kills 10 --rate 3000`` in 97 s: 123 213 acknowledged, the same.

======================  ===============================================================================================
``__main__.py``         the command line and the table
``run.py``              wiring: configuration, processes, order of events
``provider.py``         sends, and knows what was answered
``subscribers.py``      receive, and know what was delivered
``killer.py``           decides whom to kill when
``verdict.py``          pure: what all of them know → what is wrong
======================  ===============================================================================================
"""
