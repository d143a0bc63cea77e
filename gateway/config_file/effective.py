"""The settings in force, written as TOML that could be a configuration file, each line with its origin behind it."""

import re
from collections.abc import Iterator

from gateway.config import Config, Origin


def effective(config: Config) -> Iterator[str]:
    """Lines of TOML. Secrets show as the references they are; nothing else that could hold one is shown whole."""
    by_table: dict[str, list[Origin]] = {}
    for row in config.origins:
        by_table.setdefault(row.table, []).append(row)
    for number, (table, rows) in enumerate(by_table.items()):
        if number:
            yield ""
        array = re.fullmatch(r"(.+)\[[0-9]+\]", table)
        yield f"[[{array[1]}]]" if array else f"[{table}]"
        lines = [(f"{row.key} = {row.value}", row.origin) for row in rows]
        width = min(48, max(len(written) for written, _ in lines))
        for written, origin in lines:
            yield f"{written:<{width}}  # {origin}"
