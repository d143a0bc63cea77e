"""What single clauses find, and what they say of it, beyond the one broken adapter that each of them has."""

import json
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from adapters.contract import Adapter
from adapters.registry import find
from gateway.conformance.subject import Subject
from gateway.testing import CLAUSES, load_cases
from tests.broken_adapters import sound

FIXTURES = Path(__file__).parent.parent / "broken_adapters" / "fixtures"
CONSTANT, PLAIN = "secrets_are_compared_in_constant_time", "no_plain_comparison_with_a_secret"

VERIFY = """
import hmac
from msgspec.structs import replace
from adapters.contract import NotProven, Proof, secrets_equal
from tests.broken_adapters import sound

def same(one, two):
    return one == two

def verify(request, source, keys, now_ms):
    header = request.header(b"x-acme-signature") or b""
    given = header.removeprefix(b"sha256=")
    secret = source.secrets[0]
    wanted = hmac.digest(secret, request.body, "sha256").hex().encode()
    if not (HOLDS):
        raise NotProven("no")
    return Proof("hmac-sha256")

ADAPTER = replace(sound.ADAPTER, name="acme", verify=verify)
"""


def _found(clause: str, adapter: Adapter, fixtures: Path = FIXTURES) -> list[str]:
    (one,) = (one for one in CLAUSES if one.name == clause)
    return list(one.check(Subject(adapter, load_cases(fixtures), 5)))


def _acme(folder: Path, source: str) -> Adapter:
    (folder / "acme.py").write_text(source)
    found = find("acme.py", folder)
    assert isinstance(found, Adapter), found
    return found


@pytest.mark.parametrize(
    "holds",
    [
        "given == wanted",
        "not given != wanted",
        "header == b'sha256=' + wanted",
        "given.decode() == wanted.decode()",
        "bytes.fromhex(given.decode()) == bytes.fromhex(wanted.decode())",
        "given in [wanted]",
        "given in {wanted: secret}",
        "any(given == one for one in [wanted])",
        "same(given, wanted)",
        "given[-8:] == wanted[-8:] and secrets_equal(given, wanted)",
    ],
)
def test_a_plain_comparison_with_what_a_secret_made_is_found(holds: str, tmp_path: Path) -> None:
    """However it is written, also in a helper and beside a comparison in constant time; the line is told."""
    adapter = _acme(tmp_path, VERIFY.replace("HOLDS", holds))
    findings = _found(PLAIN, adapter)
    assert findings
    assert "acme.py, line " in findings[0]
    assert ("return one == two" if holds.startswith("same") else holds) in findings[0]
    assert bool(_found(CONSTANT, adapter)) is ("secrets_equal" not in holds)


@pytest.mark.parametrize(
    "holds",
    [
        "secrets_equal(given, wanted)",
        "header[:7] == b'sha256=' and secrets_equal(given, wanted)",
        "secret[:6] != b'whsec_' and secret != b'' and secrets_equal(given, wanted)",
        "header == b'sha256=' + given.lower() and hmac.compare_digest(given, wanted) == True",
    ],
)
def test_what_gives_no_secret_away_is_no_finding(holds: str, tmp_path: Path) -> None:
    """Marks, spellings and the form of a secret may be compared as one likes."""
    adapter = _acme(tmp_path, VERIFY.replace("HOLDS", holds))
    assert _found(PLAIN, adapter) + _found(CONSTANT, adapter) == []


TOKEN = "hashlib.sha256(request.path_token or b'').digest()"
BOTH = "secrets_equal(given, wanted) and source.path_token_sha256 is not None and "
EITHER = "(not source.secrets or secrets_equal(given, wanted)) and source.path_token_sha256 is None or "


@pytest.mark.parametrize(
    ("holds", "broken"),
    [
        (BOTH + f"secrets_equal({TOKEN}, source.path_token_sha256)", set()),
        (BOTH + f"{TOKEN} == source.path_token_sha256", {PLAIN}),
        (EITHER + f"source.path_token_sha256.startswith({TOKEN})", {CONSTANT}),
    ],
)
def test_each_of_two_proofs_is_looked_at(holds: str, broken: set[str], tmp_path: Path) -> None:
    """A path token that is compared plainly is found beside secrets that are not, and wanting both is no fault."""
    about = _case(tmp_path, "note.added__one") / "about.toml"
    text = about.read_text().replace('secrets = ["acme_test"]', 'secrets = ["acme_test"]\npath_token = "token"')
    about.write_text(text + '\n[request]\npath_token = "token"\n')
    verify = VERIFY.replace("source.secrets[0]", "(*source.secrets, b'')[0]").replace("HOLDS", holds)
    adapter = _acme(tmp_path, "import hashlib\n" + verify)
    assert {clause for clause in (PLAIN, CONSTANT) if _found(clause, adapter, tmp_path)} == broken


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("printf sha256=2da356c5e40f6d6a8253d1b21dfdb7a2b88363c1f4fd033c2bf2033bf3e0bc53", "does not read body.raw"),
        ("a-tool-that-is-nowhere body.raw", "because a-tool-that-is-nowhere is not installed here"),
        ("cat no-such-file", "no-such-file: No such file"),
        ("exit 3", "exit status 3; it says nothing more"),
    ],
)
def test_a_command_that_proves_nothing_is_found(command: str, said: str, tmp_path: Path) -> None:
    """A constant, a missing tool, a missing file and an exit status are told apart."""
    about = _case(tmp_path, "note.added__one") / "about.toml"
    lines = [line for line in about.read_text().splitlines() if not line.startswith("command")]
    about.write_text("\n".join(lines).replace("[proof]", f'[proof]\ncommand = "{command}"'))
    (finding,) = _found("command_makes_the_proof", sound.ADAPTER, tmp_path)
    assert said in finding


@pytest.mark.parametrize("dedupe", ['"text"', '["note.added"]', "[[1]]", "[]", '[["note.added", "acme-1", "note_2"]]'])
def test_a_dedupe_that_is_not_what_the_id_comes_from_is_found(dedupe: str, tmp_path: Path) -> None:
    """Of a wrong form, of another number of events, and of other parts."""
    about = _case(tmp_path, "note.added__one") / "about.toml"
    text = about.read_text()
    start, end = text.index("dedupe = ["), text.index("[source]")
    about.write_text(f"{text[:start]}dedupe = {dedupe}\n{text[end:]}")
    assert len(_found("ids_come_from_dedupe", sound.ADAPTER, tmp_path)) == 1


def test_an_exception_is_told_with_its_text_and_its_line(tmp_path: Path) -> None:
    """A misspelt field is found without a debugger."""
    adapter = _acme(
        tmp_path,
        "from msgspec.structs import replace\n"
        "from schemas.event import Booking\n"
        "from tests.broken_adapters import sound\n"
        "def normalise(verified):\n"
        "    return Booking(start_at='2026-02-03T12:00:00.000Z')\n"
        "ADAPTER = replace(sound.ADAPTER, name='acme', normalise=normalise)\n",
    )
    for clause in ("normalise_raises_only_unmappable", "expected_events"):
        assert (
            "normalise raises TypeError: Unexpected keyword argument 'start_at' "
            "(acme.py, line 5: return Booking(start_at='2026-02-03T12:00:00.000Z'))"
        ) in _found(clause, adapter)[0]


def test_an_empty_expected_json_is_answered_with_what_to_copy(tmp_path: Path) -> None:
    """What the finding shows, written into the file, is what the clause asks for; until then no case is of other."""
    expected = _case(tmp_path, "note.burned__unknown") / "expected.json"
    expected.write_text("[]")
    (finding,) = _found("expected_events", sound.ADAPTER, tmp_path)
    assert "case note.burned__unknown has a name that nobody knows, but its expected.json is []" in _found(
        "names_have_cases", sound.ADAPTER, tmp_path
    )
    expected.write_text(finding[finding.index("[{") :])
    assert [event["type"] for event in json.loads(expected.read_text())] == ["other"]
    assert _found("expected_events", sound.ADAPTER, tmp_path) == []


def test_no_case_of_an_unknown_name_is_told_as_that() -> None:
    """Where every folder's name is known, a folder is missing."""
    knows_all = replace(sound.ADAPTER, ignored={**sound.ADAPTER.ignored, "note.burned": "known"})
    cases = tuple(case for case in load_cases(FIXTURES) if case.event != "note.burned")
    (one,) = (one for one in CLAUSES if one.name == "names_have_cases")
    found = list(one.check(Subject(knows_all, cases, 5)))
    assert found[-1] == "no case of a name that nobody knows, which becomes other"


def _case(folder: Path, name: str) -> Path:
    shutil.copytree(FIXTURES / name, folder / name)
    return folder / name
