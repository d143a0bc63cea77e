"""It maps a name of which there is no case."""

from msgspec.structs import replace

from tests.broken_adapters import sound

ADAPTER = replace(sound.ADAPTER, event_map={**sound.ADAPTER.event_map, "note.read": "message.read"})
