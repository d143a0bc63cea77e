"""The settings in force, written as TOML that could be a configuration file, each line with its origin behind it."""

from collections.abc import Iterator
from itertools import groupby

from gateway.config import Config


def effective(config: Config) -> Iterator[str]:
    """Lines of TOML. Secrets show as the references they are; nothing else that could hold one is shown whole."""
    by_table = {table: list(rows) for table, rows in groupby(config.origins, key=lambda origin: origin.table)}
    for number, (table, rows) in enumerate(by_table.items()):
        if number:
            yield ""
        yield f"[{table}]"
        lines = [(f"{row.key} = {row.value}", row.origin) for row in rows]
        width = min(48, max(len(written) for written, _ in lines))
        for written, origin in lines:
            yield f"{written:<{width}}  # {origin}"
