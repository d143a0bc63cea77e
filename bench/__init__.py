"""The measuring instruments: every speed the gateway claims, as a ratio to something bare, measured in the same run.

``python -m bench`` prints one line a row: what the gateway does, what a program without any of our work does on the
same cores a moment before, their ratio, the floor and the aim. Ratios, because machines differ and because a noisy
neighbour slows both; rounds alternate (bare, ours, bare, ours) and the median round speaks.

Reading order::

    rows/*.py          one budget each: what is started, in which order, what is divided by what
    subject.py         `gateway serve` as a child, its store moved to the other core, its log counted
    bare.py            the handler to compare intake with: reads the body, answers 200
    bare_client.py     the loop to compare delivery with: posts one body, 64 at once
    load.py, load.lua  the client: wrk, sending distinct requests that were signed beforehand
    sink.py            the subscriber: nginx, answering 204
    disk.py            what one fsync costs here
    machine.py         cores, versions, what is pinned where
    process.py         children that end with us
    belief.py          when a round is refused
    measuring.py       what the rows share, and the verdict
    report.py          how it is printed

Method. The client is wrk from Debian, because a Python client is slower than the server it measures. The measured
process has the first core for itself; client, sink and store share the second; end to end and start-up pin nothing.
Every round has its own gateway and an empty store, so that its log must be exactly as long as the 200s that the client
counted: a row where it is not, or where anything but 200 was answered, is refused and fails.
"""
