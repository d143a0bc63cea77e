"""Everything at once: is anything lost when all that can go wrong goes wrong, at random?

``python -m tests.torture --minutes 6 --seed 1`` plays three acts, each on an empty store with real processes: one
gateway on its embedded store; two workers on theirs; one gateway on an external store behind a proxy. Providers of all
five kinds send distinct signed requests and send again whatever was not answered 200; four subscribers take them (all;
in order by key; filtered; one that fails for good now and then). Every second or two something goes wrong: everything
in ``strikes.py`` once, in an order that the seed decides, then by chance until the time is over. Processes are killed,
stopped and hang, the way to the store is cut, the clock of gateway and store jumps by a year, the store's disk is full
and freed (``machine.py``: that needs ``cc`` and the right to mount a tmpfs; a run says what it did without). Then it
stops, everything is drained, and ``tests/crashes/verdict.py`` compares what was acknowledged, what is in the log, and
what was delivered.

The seed decides strikes and messages, not the scheduling of the machine. Exit code 1 and the end of the log if anything
is wrong.

``--minutes 1.5 --seed 1`` on two busy cores, in 200 s, each strike at least once in each act: 59 516 acknowledged, 14
297 of them through the spool, 0 lost, nothing wrong; normal again after 1.6 s at the worst.

``--minutes 5 --seed 7 --rate 500``, before there were a clock and a disk among the strikes, on two cores, shared with
other work (load 6): 127 085 requests acknowledged, 22 680 of them through the spool, 0 lost, 0 delivered twice without
a cause, 0 out of order, no gateway ended by itself, every audit adds up. The store came back 16 times; normal again
after 3.3, 1.3 and 6.5 s at the worst of the three acts. The last one, after replies had been held back for seconds, is
over the limit of 5 s and makes the exit code 1; the same strike alone, five times, took 4.3 s at most.
"""
