"""Its deadline is a time before the request."""

from msgspec.structs import replace

from tests.broken_adapters import sound

ADAPTER = replace(sound.ADAPTER, ack_deadline_s=-1.0)
