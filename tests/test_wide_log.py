"""The log, where its lines cannot be written: they are lost, and nothing else is."""

import contextlib
from pathlib import Path
from unittest.mock import patch

import pytest
import structlog

from gateway import wide_log

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_log_that_cannot_be_written_raises_nothing() -> None:
    """Raised, it would end what drains the spool and what restarts the store. The control: structlog alone raises."""
    stream = FULL.open("w")
    try:
        with patch("gateway.wide_log.structlog.configure") as configure:  # it holds for the whole process
            wide_log.set_up("info", "text", stream)
        configure.call_args.kwargs["logger_factory"]().msg("a line")
        with pytest.raises(OSError, match="No space left"):
            structlog.PrintLogger(stream).msg("a line")
    finally:
        with contextlib.suppress(OSError):
            stream.close()
