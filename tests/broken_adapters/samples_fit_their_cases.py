"""Its sample of a ping is a note."""

from msgspec.structs import replace

from tests.broken_adapters import sound


def sample(case: str, seed: int) -> bytes:
    return sound.sample("note.added__one" if case == "ping__alone" else case, seed)


ADAPTER = replace(sound.ADAPTER, sample=sample)
