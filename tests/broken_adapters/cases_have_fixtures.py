"""It promises a case that nobody recorded."""

from msgspec.structs import replace

from tests.broken_adapters import sound

ADAPTER = replace(sound.ADAPTER, cases=(*sound.ADAPTER.cases, "note.added__lost"))
