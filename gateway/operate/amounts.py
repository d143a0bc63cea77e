"""Amounts as people read them: a length of time, a size, a number of things. Pure."""


def duration(seconds: float) -> str:
    """A length of time for people, to about two digits: ``4 s``, ``3 min``, ``2 h 10 min``, ``5 d``."""
    whole = round(seconds)
    if whole < 120:
        return f"{max(whole, 1)} s"
    if whole < 7_200:
        return f"{whole // 60} min"
    if whole < 172_800:
        hours, minutes = divmod(whole // 60, 60)
        return f"{hours} h {minutes} min" if minutes and hours < 10 else f"{hours} h"
    return f"{whole // 86_400} d"


def size(value: int) -> str:
    """Bytes, for people."""
    amount = float(value)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def counted(number: int, one: str, many: str = "") -> str:
    """``1 request``, ``2 requests``."""
    return f"{number} {one if number == 1 else many or one + 's'}"
