"""Opening a store: is it ours, and of the shape that is configured?"""

from collections.abc import Sequence

from gateway.errors import StoreMismatch
from gateway.store.connection import Store
from gateway.store.layout import FORMAT, Keys


async def open_partitions(store: Store, keys: Sequence[Keys]) -> None:
    """Write the shape into an empty store; compare it in one that was used before.

    Raises ``StoreMismatch`` where the number of partitions or the format differ: an event's partition would change with
    them, and a retry of the same provider event would not be found.
    """
    wanted = {"format": str(FORMAT), "partitions": str(len(keys))}
    for each in keys:
        for field, value in wanted.items():
            await store.call("HSETNX", each.state, field, value)
        found = await store.call("HMGET", each.state, *wanted)
        for (field, value), known in zip(wanted.items(), found, strict=True):
            if known.decode() != value:
                raise StoreMismatch(
                    f"the store was first used with {field} = {known.decode()}, not {value}; "
                    + (
                        f"write partitions = {known.decode()} under [store], or use an empty store"
                        if field == "partitions"
                        else "use the version of the gateway that wrote it, or an empty store"
                    )
                )
