"""Socket to log: ``endpoint`` reads and answers, ``pipeline`` decides, ``committer`` makes durable."""
