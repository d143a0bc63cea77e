"""Log to subscriber: ``dispatcher`` reads, ``matching`` chooses, ``lane`` paces, ``attempt`` sends."""
