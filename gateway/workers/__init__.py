"""Several processes on one socket: ``gateway serve --workers N``.

The *parent* (``parent.py``) takes no request. It opens the socket, runs the embedded store, and starts the *workers*
(``child.py``), each of which is a whole gateway (``running.py``). All of them accept from the one socket
(``accepting.py``), so a worker that is gone leaves no connection waiting for it. The parent starts one anew that ended,
with a growing pause, passes SIGHUP and SIGTERM on, and replaces the workers one after the other at SIGUSR2: the new one
serves before the old one is told to stop.

A worker ends when its standard input closes, however the parent ended. What only one of them knows it tells the others
on a socket in a folder of their own (``exchange.py``); everything else they share is in the store.

With one worker there is no parent: ``gateway serve`` is ``running.py`` in the process itself.
"""
