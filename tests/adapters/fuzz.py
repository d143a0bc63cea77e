"""What every adapter must do with any bytes whatever; and the command line: ``python -m tests.adapters.fuzz``.

The long run, ``--runs 50000 --seed 1``: ten checks, 500 000 inputs, nothing found; 4 minutes on two busy cores. Atheris
(libFuzzer for Python) on the same checks, 785 099 runs, found nothing either; it is not among the pinned packages, as
it comes built for few platforms and Pythons only.
"""

import argparse
import contextlib
import json
import sys
import time
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
import msgspec

from adapters.contract import Adapter, Ignored, NotProven, Proof, Request, Source, Unmappable, prove
from adapters.registry import bundled, find
from gateway.conformance.subject import is_strictly_an_event, paths
from gateway.intake.pipeline import Events, understand
from gateway.testing import Case, load_cases
from tests.adapters.coverage_guided import fuzz
from tests.hostile.bodies import VALUES
from tests.support.counts import at_least

FIXTURES = Path(__file__).parents[1] / "fixtures"
NOW_MS = 1_770_120_005_412
SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parents[2] / "schemas" / "event.schema.json").read_bytes())
)


class Subject:
    """An adapter, its recorded requests, and what is asked of it."""

    def __init__(self, adapter: Adapter, cases: tuple[Case, ...]) -> None:
        self.name, self.adapter, self.cases = adapter.name, adapter, cases
        self._sources = list({_proofs(case.source): case for case in cases}.values())
        """One case for each way to prove a request."""
        self._trusting = msgspec.structs.replace(adapter, verify=lambda *_: Proof("fuzz"))

    def bodies(self) -> list[bytes]:
        """Where to begin: recorded bodies, and JSON of every kind that is not large."""
        return [case.request.body for case in self.cases] + [value for value in VALUES if len(value) < 2_000]

    def headers(self) -> list[bytes]:
        """Where to begin: recorded requests, written as ``as_request`` reads them."""
        found = []
        for case in self.cases:
            lines = [name + b": " + value for name, value in case.request.headers]
            found.append(b"\n".join(lines) + b"\n\n" + case.request.body)
        return found

    def field_names(self) -> list[str]:
        """Every key of a recorded body."""
        keys = {str(key) for case in self.cases for path in self._paths(case) for key in path}
        return sorted(keys)

    def texts(self) -> list[str]:
        """Every text of a recorded body: names of events, statuses, times, numbers."""
        found = set()
        for case in self.cases:
            document = json.loads(case.request.body)
            for path in self._paths(case):
                value: Any = document
                for key in path:
                    value = value[key]
                if isinstance(value, str) and len(value) < 60:
                    found.add(value)
        return sorted(found)

    def _paths(self, case: Case) -> list[tuple[str | int, ...]]:
        return list(paths(json.loads(case.request.body)))

    def check_body(self, body: bytes) -> int:
        """Map a body. Raises for what no body may lead to; returns the number of events."""
        verified = prove(self._trusting, Request((), body), self.cases[0].source, {}, NOW_MS)
        try:
            drafts = self.adapter.normalise(verified)
        except Unmappable:
            return 0
        if isinstance(drafts, Ignored):
            return 0
        outcome = understand(verified, self.adapter, NOW_MS)
        assert isinstance(outcome, Events), outcome
        assert outcome == understand(verified, self.adapter, NOW_MS), "another answer the second time"
        for item in outcome.events:
            event = json.loads(item.event_json)
            SCHEMA.validate({**event, "raw": json.loads(item.raw_json)})
            reason = is_strictly_an_event(event)
            assert reason is None, reason
            assert msgspec.json.encode(msgspec.json.decode(item.event_json, type=type(item.event))) == item.event_json
            assert msgspec.json.encode(msgspec.json.decode(item.raw_json)) == item.raw_json
        return len(outcome.events)

    def check_document(self, document: Any) -> int:
        """Map a document; returns how much of it was understood, in bytes."""
        body = json.dumps(document).encode()
        self.check_body(body)
        verified = prove(self._trusting, Request((), body), self.cases[0].source, {}, NOW_MS)
        outcome = understand(verified, self.adapter, NOW_MS)
        return sum(len(item.event_json) for item in outcome.events) if isinstance(outcome, Events) else 0

    def check_headers(self, data: bytes) -> None:
        """Prove a request to the source of every way to prove it."""
        request = as_request(data)
        for case in self._sources:
            with contextlib.suppress(NotProven):
                url = self.adapter.key_wanted(request, case.source)
                self.adapter.verify(request, case.source, {url: b"no key"} if url else case.keys, NOW_MS)


def _proofs(source: Source) -> tuple[Any, ...]:
    options = tuple(sorted(name for name, value in source.options.items() if value is True))
    return source.secrets, source.header, source.path_token_sha256, source.public_key, options


def as_request(data: bytes) -> Request:
    """Lines of headers, an empty line, the body; what is no header is left out."""
    head, _, body = data.partition(b"\n\n")
    pairs = [line.partition(b":") for line in head.split(b"\n")]
    return Request(
        tuple((name.lower(), value.strip()) for name, colon, value in pairs if colon), body, head[:8], "1.2.3.4"
    )


@lru_cache(maxsize=1)
def subjects() -> list[Subject]:
    """All adapters of this repository."""
    found = []
    for name in bundled():
        adapter = find(name, FIXTURES)
        assert isinstance(adapter, Adapter), adapter
        found.append(Subject(adapter, load_cases(FIXTURES / name)))
    return found


def main() -> int:
    """Fuzz every adapter, and say what was reached."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.adapters.fuzz", description="Fuzz adapters, led by coverage."
    )
    parser.add_argument(
        "--runs", type=at_least(1), default=20_000, help="inputs an adapter and a check (default: 20000)"
    )
    parser.add_argument("--seed", type=int, default=1, help="decides which (default: 1)")
    given = parser.parse_args()
    began_s = time.monotonic()
    for subject in subjects():
        for what, check, seeds in (
            ("normalise", subject.check_body, subject.bodies()),
            ("verify", subject.check_headers, subject.headers()),
        ):
            edges, corpus = fuzz(check, seeds, runs=given.runs, chance=Random(given.seed))
            print(
                f"{subject.name} {what}: {given.runs:,} inputs, {edges:,} edges, corpus {len(corpus):,}: nothing found"
            )
    print(f"seed {given.seed}, {time.monotonic() - began_s:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
