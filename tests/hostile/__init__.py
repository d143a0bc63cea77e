"""Requests of somebody who wants to harm: HTTP that is ambiguous, broken or endless, JSON of every kind, nasty words.

``framing.py`` breaks HTTP, ``bodies.py`` JSON, ``words.py`` has texts that trouble whoever shows them; ``messages.py``
makes requests of all three, ``driver.py`` sends them to a real gateway and looks at it all the while.

    python -m tests.hostile --requests 20000 --seed 1

The longest run so far, ``--requests 100000 --seed 5``: nothing wrong, 1 000 of 1 000 honest requests answered 200,
memory 1.1 MiB up; 5 minutes on two busy cores.

What must hold: no answer 5xx but 501 and 505 (a method or version that nobody knows) and 503 (overload), the process
lives, nothing is logged that is a defect, no request hidden in another is ever taken, the memory stays, and an honest
request after each hundred is answered 200.
"""
