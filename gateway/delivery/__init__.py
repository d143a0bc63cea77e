"""Log to subscriber: ``dispatcher`` reads, ``matching`` and ``condition`` choose, ``lane`` paces, ``attempt`` sends."""
