"""Every byte of a store, key by key and as it lies on disk, without the two streams that may hold secrets."""

from collections.abc import Iterator
from pathlib import Path

import redis

EXCLUDED = (b":quarantine", b":rejected")


def keys_of(client: "redis.Redis") -> Iterator[tuple[str, bytes]]:
    """Each key and everything in it."""
    for key in sorted(client.scan_iter()):
        if key.endswith(EXCLUDED):
            continue
        kind = client.type(key)
        if kind == b"string":
            value: object = client.get(key)
        elif kind == b"hash":
            value = client.hgetall(key)
        elif kind == b"list":
            value = client.lrange(key, 0, -1)
        elif kind == b"set":
            value = client.smembers(key)
        elif kind == b"zset":
            value = client.zrange(key, 0, -1, withscores=True)
        else:
            assert kind == b"stream", kind
            value = client.xrange(key)
        yield f"the key {key.decode()}", key + b" " + _flat(value)


def _flat(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict):
        value = [part for pair in value.items() for part in pair]
    if isinstance(value, list | tuple | set):
        return b"\n".join(_flat(part) for part in value)
    return str(value).encode()


def commands_of(log: Path) -> Iterator[tuple[str, bytes]]:
    """Each command of an append-only file, but those on the excluded keys. Scripts' texts are among them."""
    data = log.read_bytes()
    at = 0
    while at < len(data):
        if data[at : at + 1] == b"#":  # a note of the server's
            at = data.index(b"\n", at) + 1
            continue
        assert data[at : at + 1] == b"*", data[at : at + 20]
        end = data.index(b"\r\n", at)
        count, at = int(data[at + 1 : end]), end + 2
        parts = []
        for _ in range(count):
            end = data.index(b"\r\n", at)
            size = int(data[at + 1 : end])
            parts.append(data[end + 2 : end + 2 + size])
            at = end + 2 + size + 2
        if not (len(parts) > 1 and parts[1].endswith(EXCLUDED)):
            yield f"{log.name}, {parts[0].decode('ascii', 'replace')}", b" ".join(parts)
