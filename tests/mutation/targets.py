"""Which code is judged by which tests."""

from pathlib import Path
from typing import Literal, get_args

import msgspec

from tests.mutation.lua_mutants import lua_mutants
from tests.mutation.mutant import Mutant, read
from tests.mutation.python_mutants import python_mutants

Part = Literal["verify", "dedupe", "settle", "guard"]
PARTS: tuple[Part, ...] = get_args(Part)


class Target(msgspec.Struct, frozen=True):
    """One file and its tests; ``jury.py`` decides who is asked first."""

    part: Part
    file: str
    tests: tuple[str, ...]
    within: frozenset[str] = frozenset()
    """Only these functions; empty: all of the file."""


_VERIFY = tuple(
    f"tests/adapters/test_{name}.py"
    for name in ("known_answers", "enviaai", "engium", "flexengage", "aivo_engage", "generic_chat")
)
_READING = tuple(f"tests/adapters/test_{name}.py" for name in ("reading_edges", "reading", "decoding"))


def _adapter(name: str, *within: str) -> Target:
    tests = tuple(f"tests/adapters/test_{each}.py" for each in (name, "known_answers", "proving", "conformance"))
    return Target("verify", f"adapters/{name}.py", tests, frozenset(within))


def _lua(part: Part, name: str, *tests: str) -> Target:
    return Target(part, f"gateway/store/lua/{name}.lua", tuple(f"tests/store/test_{test}.py" for test in tests))


TARGETS: tuple[Target, ...] = (
    Target("verify", "adapters/proving.py", ("tests/adapters/test_proving.py", *_VERIFY)),
    Target("verify", "adapters/reading.py", _READING),
    Target("verify", "adapters/decoding.py", _READING),
    Target(
        "verify",
        "adapters/contract.py",
        ("tests/adapters/test_contract.py", "tests/adapters/test_proving.py"),
        frozenset({"header", "__repr__", "body", "prove", "secrets_equal", "no_key_wanted"}),
    ),
    _adapter("enviaai", "verify"),
    _adapter("engium", "verify", "_check_signed_time"),
    _adapter("flexengage", "key_wanted", "verify", "_signature", "_key_url", "_public_key", "_brand"),
    _adapter("aivo_engage", "verify"),
    _adapter("generic_chat", "verify", "_address"),
    Target("dedupe", "schemas/event.py", ("tests/schemas/test_event_id.py",), frozenset({"event_id"})),
    Target(
        "dedupe",
        "gateway/intake/pipeline.py",
        ("tests/intake/test_pipeline.py",),
        frozenset({"receive", "understand", "_items", "request_id"}),
    ),
    _lua("dedupe", "commit", "commit_edges", "left_entries", "repeat", "commit", "rights", "model"),
    Target(
        "dedupe",
        "gateway/store/log.py",
        (
            *(f"tests/store/test_{name}.py" for name in ("commit_edges", "repeat", "commit")),
            "tests/intake/test_committer.py",
        ),
        frozenset({"next_batch", "commit", "repeat", "_call", "_sequence", "_refusal", "_waiting", "_counters"}),
    ),
    Target(
        "dedupe",
        "gateway/intake/committer.py",
        tuple(f"tests/intake/test_{name}.py" for name in ("committer_pace", "committer_spool", "notes", "committer")),
    ),
    Target(
        "dedupe",
        "gateway/intake/batching.py",
        ("tests/intake/test_batching.py", "tests/intake/test_committer.py"),
    ),
    Target("dedupe", "gateway/intake/notes.py", ("tests/intake/test_notes.py", "tests/intake/test_committer.py")),
    _lua("settle", "settle", "settle", "order", "settle_edges", "firsts", "dead_letters", "model"),
    _lua("settle", "dead", "dead_letters", "settle_edges", "model"),
    _lua("settle", "lease", "settle_edges", "lease"),
    _lua("settle", "subscribe", "subscribe", "settle_edges"),
    _lua("settle", "forget", "settle_edges", "subscribers", "firsts"),
    _lua("settle", "trim", "settle_edges", "housekeeping"),
    Target("settle", "gateway/store/firsts.py", ("tests/store/test_firsts.py",)),
    Target(
        "settle",
        "gateway/store/parked.py",
        ("tests/store/test_settle.py", "tests/store/test_order.py", "tests/store/test_settle_edges.py"),
        frozenset({"settle", "next_settle", "due", "held_keys"}),
    ),
    Target(
        "settle",
        "gateway/delivery/key_order.py",
        ("tests/delivery/test_key_order.py", "tests/delivery/test_key_order_store.py"),
    ),
    Target("settle", "gateway/delivery/window.py", ("tests/delivery/test_window.py",)),
    Target("settle", "gateway/delivery/settling.py", ("tests/delivery/test_settling.py",)),
    Target(
        "guard", "gateway/delivery/addresses.py", ("tests/delivery/test_addresses.py", "tests/delivery/test_guard.py")
    ),
    Target("guard", "gateway/delivery/guard.py", ("tests/delivery/test_guard.py", "tests/delivery/test_pin.py")),
    Target(
        "guard",
        "gateway/delivery/itself.py",
        tuple(f"tests/delivery/test_{name}.py" for name in ("itself", "guard", "pin")),
    ),
)


def mutants_of(target: Target, root: Path) -> list[Mutant]:
    """Every mutant of a target, in order of place."""
    text = read(root, target.file)
    if target.file.endswith(".lua"):
        return lua_mutants(target.file, text)
    return python_mutants(target.file, text, target.within)
