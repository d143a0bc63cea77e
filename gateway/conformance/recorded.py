"""Clauses about what a case records beside its events: how its proof was made, and what its ids come from."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gateway.conformance.cases import Case
from gateway.conformance.subject import Findings, Subject, clause

_TIMEOUT_S = 20
_SHOWN = 200
"""How much of a command's output a finding shows, in characters."""
_NOT_THERE = re.compile(r"([^\s:]+): (?:command )?not found")
_BODY = "sha256(body)"


@clause(
    "The command in [proof] makes the recorded proof, without our code, and another one for another body.",
    mend="run the command in the case's folder; it must print the value of [proof].header in headers.json, or prints",
)
def command_makes_the_proof(subject: Subject) -> Findings:
    """Each command is run where it stands; each one that is written differently also over a changed body, in a copy."""
    tried: set[str] = set()
    for case in subject.cases:
        command = case.proof.get("command")
        if command is None:
            continue  # cases_have_provenance asks for one
        printed, complaint = _run(command, case.folder)
        wanted = case.proof.get("prints", _recorded(case))
        if wanted is None:
            yield f"case {case.name}: headers.json has no header {case.proof.get('header')}, and [proof] no prints"
        elif printed != wanted:
            yield f"case {case.name}: the command prints {printed[:_SHOWN]!r}{complaint}; recorded is {wanted!r}"
        elif command not in tried and not case.proof.get("not_over_body"):
            tried.add(command)
            if _run_over_another_body(command, case) == wanted:
                yield f"case {case.name}: the command prints the same for another body: it does not read body.raw"


def _recorded(case: Case) -> str | None:
    value = case.request.header(case.proof_header) if case.proof_header else None
    return None if value is None else value.decode("latin-1")


def _run(command: str, folder: Path) -> tuple[str, str]:
    """What a command prints, and what is to be said about how it ended."""
    try:
        ran = subprocess.run(  # noqa: S603  # the author's own command, from the author's own fixtures
            ["sh", "-c", command],  # noqa: S607  # the shell is where the system has it
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return "", f" and was stopped after {_TIMEOUT_S} s"
    except OSError as error:
        return "", f" because sh cannot be run ({error})"
    complaint = ran.stderr.decode("utf-8", "replace").strip()
    if missing := _NOT_THERE.search(complaint):
        said = f" because {missing[1]} is not installed here"
    elif ran.returncode or complaint:
        first = complaint.partition("\n")[0]
        said = f" (exit status {ran.returncode}; {first[:_SHOWN] or 'it says nothing more'})"
    else:
        said = ""
    return ran.stdout.decode("utf-8", "replace").strip(), said


def _run_over_another_body(command: str, case: Case) -> str:
    """What the command prints in a copy of the folder; folders beside it that are no cases (keys) are copied too."""
    with tempfile.TemporaryDirectory() as name:
        for folder in (case.folder, *case.folder.parent.glob("_*")):
            if folder.is_dir():
                shutil.copytree(folder, Path(name) / folder.name)
        copy = Path(name) / case.folder.name
        (copy / "body.raw").write_bytes(case.request.body + b" ")
        return _run(command, copy)[0]


@clause(
    "The ids in expected.json come from the parts that dedupe in about.toml names, and from the source.",
    mend='write one list of parts for each event, "sha256(body)" for the body\'s hash, as the documentation has it',
)
def ids_come_from_dedupe(subject: Subject) -> Findings:
    """Computed from the design's words alone: base32 of SHA-256 over the JSON array of source and parts."""
    for case in subject.cases:
        events = case.expected if isinstance(case.expected, list) else []
        recorded = case.about.get("dedupe", [])
        wanted = _ids(case, recorded)
        if wanted is None:
            yield f"case {case.name}: dedupe is {recorded!r}, which is no list of lists of texts"
        elif len(wanted) != len(events):
            names = f"dedupe names {len(wanted)} events, expected.json {len(events)}"
            yield f"case {case.name}: {names}{_made(subject, case)}"
        else:
            for index, (event, identity) in enumerate(zip(events, wanted, strict=True)):
                if event.get("id") != identity:
                    yield (
                        f"case {case.name}: the parts {recorded[index]!r} give {identity}, "
                        f"expected.json says {event.get('id')}{_made(subject, case)}"
                    )
                    break


def _ids(case: Case, recorded: object) -> list[str] | None:
    if not isinstance(recorded, list):
        return None
    body_sha256 = hashlib.sha256(case.request.body).hexdigest()
    ids: list[str] = []
    for parts in recorded:
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            return None
        filled = [case.source.name, *(body_sha256 if part == _BODY else part for part in parts)]
        identity = _id(filled)
        ids.append(_id([*filled, f"#{len(ids)}"]) if identity in ids else identity)  # the same event twice stays two
    return ids


def _id(parts: Sequence[str]) -> str:
    array = json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode()
    return "evt_" + base64.b32encode(hashlib.sha256(array).digest()[:16]).decode().lower().rstrip("=")


def _made(subject: Subject, case: Case) -> str:
    """What the adapter takes, for whoever has to find the difference."""
    body_sha256 = hashlib.sha256(case.request.body).hexdigest()
    parts = [
        [_BODY if not part or part == body_sha256 else part for part in draft.dedupe]
        for draft in subject.drafts(case, case.request.body)
    ]
    return f"; the adapter takes {json.dumps(parts, ensure_ascii=False)}" if parts else ""
