"""The README is true: its commands run and show what it shows, its receivers and its adapter work, its tables agree."""

import asyncio
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.enviaai import ADAPTER as ENVIAAI
from gateway.delivery.signing import Signer
from gateway.intake.pipeline import Events, receive
from gateway.testing import check, load_case
from tests.readme import receivers
from tests.readme.comparing import difference
from tests.readme.document import README, ROOT, Document, Step, anchor, read
from tests.readme.story import DEMO, Story, missing_tool
from tests.support.servers import answering, serving

pytestmark = pytest.mark.timeout(300)
"""The story is one fixture, and Go compiles its standard library on its first day: both take long on a busy machine."""

DOCUMENT = read(README.read_text("utf-8"))
STEPS = DOCUMENT.steps


def step_name(step: Step) -> str:
    return f"{step.line} {step.command[:40]}"


# The story


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[int, str], Story]]:
    """What came of each step, by its line: empty if all was well. The first failure ends the story."""
    results: dict[int, str] = {}
    with ExitStack() as cleanup:
        story = Story(DOCUMENT, tmp_path_factory.mktemp("readme"), cleanup)
        story.begin_demo()
        for step in sorted(STEPS, key=lambda step: step.command == DEMO):  # it runs beside the rest
            if tool := missing_tool(step):
                results[step.line] = f"skip: {tool}"
                continue
            try:
                story.run(step)
            except AssertionError as error:
                results[step.line] = str(error)
                break
            results[step.line] = ""
        yield results, story


@pytest.mark.parametrize("step", STEPS, ids=step_name)
def test_a_command_shows_what_the_readme_shows(step: Step, told: tuple[dict[int, str], Story]) -> None:
    """Every command with a prompt, in order, in a fresh directory, with a gateway and a receiver that really run."""
    result = told[0].get(step.line, "not reached: a command before it failed")
    if result.startswith("skip: "):
        pytest.skip(f"{result.removeprefix('skip: ')} is not installed")
    assert result == "", result


def test_at_the_end_of_the_story_everything_is_delivered(told: tuple[dict[int, str], Story]) -> None:
    """The dead letter that was retried has arrived too, and the account adds up."""
    assert set(told[0].values()) == {""}, "the story did not come to its end"
    ledger = '{…"delivered":3,…"dead":0,…"pending":0,"unaccounted":0}},"unaccounted":0,"replays":{…}}'
    looked = Step("gateway status --json", (ledger,), 0)
    told[1].run(looked)


def test_the_story_tries_every_kind_of_verb() -> None:
    """An empty story would be green: the verbs a first day needs are in it."""
    verbs = {step.command.split()[1] for step in STEPS if step.command.startswith("gateway ")}
    assert verbs >= {"demo", "init", "check", "urls", "serve", "send", "status", "events", "show", "audit", "dead"}
    assert verbs >= {"trace", "pause", "resume", "replay", "subscribers", "secret"}


def test_the_comparison_can_fail() -> None:
    """Another word, a line too many or too few, another event under a known id are differences."""
    names = {"evt_aaaa2222": "evt_bbbb3333"}
    assert difference(["at 12:00:01, evt_aaaa, 5 ms"], ["at 13:10:59,   evt_bbbb, 1.2 s"], dict(names)) is None
    assert difference(["2026-11-21T04:33:34.662 one"], ["2027-01-02T03:04:05.678 one"], {}) is None
    assert difference(["one", "…", "three"], ["one", "two", "three"], {}) is None
    assert difference(["0 dead"], ["1 dead"], {}) is not None
    assert difference(["one"], ["one", "two"], {}) is not None
    assert difference(["one", "two"], ["one"], {}) is not None
    assert difference(["one", "three"], ["one", "two", "three"], {}) is not None
    assert difference(["evt_aaaa2222"], ["evt_cccc4444"], dict(names)) is not None
    assert difference(["b", "a"], ["a", "b"], {}, any_order=True) is None
    assert difference(["b", "…", "a"], ["a", "x", "b"], {}, any_order=True) is None
    assert difference(["b", "a"], ["a", "x", "b"], {}, any_order=True) is not None
    assert difference(["b", "a"], ["a", "b"], {}) is not None


# For app developers


@cache
def documented_event() -> tuple[dict[str, Any], bytes]:
    """enviaai's documented message as the gateway makes it: the event, and the body of its delivery."""
    case = load_case(ROOT / "tests/fixtures/enviaai/message.received__documented")
    outcome = receive(case.request, case.source, ENVIAAI, case.keys, case.now_ms)
    assert isinstance(outcome, Events)
    (item,) = outcome.events
    event = {**json.loads(item.event_json), "raw": json.loads(item.raw_json)}
    return event, json.dumps(event).encode()


def test_the_event_shown_is_what_the_gateway_makes_of_the_documented_request() -> None:
    """Every field of the example, in the order in which it is delivered."""
    shown = json.loads(DOCUMENT.block("json", '{\n  "id"').text)
    event, _ = documented_event()
    assert shown == event
    assert list(shown) == list(event)


def test_the_delivery_shown_has_the_headers_that_are_sent() -> None:
    """No header is missing and none is invented, beside those of HTTP itself."""
    shown = DOCUMENT.block("http", "POST ").text.splitlines()[1:]
    event, body = documented_event()

    async def sent() -> dict[str, str]:
        async with serving(answering(b"HTTP/1.1 204 No Content\r\n\r\n")) as server:
            outcome = await asyncio.to_thread(receivers.deliver, server.port, event["id"], body)
            assert outcome.delivered, outcome.detail
            return server.requests[0].headers

    headers = asyncio.run(sent())
    named = {line.partition(":")[0]: line.partition(": ")[2] for line in shown}
    assert set(named) == set(headers) - {"host", "content-length", "accept"}
    for name in ("webhook-id", "content-type", "user-agent", "gateway-attempt", "gateway-attempts-left"):
        assert named[name] == headers[name]


@pytest.mark.parametrize(
    ("tool", "make"), [("python", receivers.python), ("node", receivers.typescript), ("go", receivers.go)]
)
def test_a_receiver_takes_what_is_signed_once_and_nothing_else(
    tool: str, make: Callable[[Document, Path], list[str]], tmp_path: Path
) -> None:
    """Run for real, against the real sender: repeats do no work twice, whatever is not proven is a 401."""
    if tool != "python" and shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    event, body = documented_event()
    other = {**event, "id": "evt_" + "a" * 26, "data": {"kind": "message"}}
    rotated = (receivers.OTHER_SECRET, receivers.SECRET)
    with receivers.listening(make(DOCUMENT, tmp_path), tmp_path) as receiver:
        port = receiver.port
        assert receivers.deliver(port, event["id"], body).status == 204
        assert receivers.deliver(port, event["id"], body).status == 204
        assert receivers.deliver(port, other["id"], json.dumps(other).encode(), secrets=rotated).status == 204
        assert receivers.deliver(port, event["id"], body, secrets=(receivers.OTHER_SECRET,)).status == 401
        assert receivers.deliver(port, event["id"], body, age_s=600).status == 401
        for headers, sent in forged(event["id"], body):
            answer = httpx.post(
                f"http://127.0.0.1:{port}/hooks", headers=list(headers.items()), content=sent, trust_env=False
            )
            assert answer.status_code == 401, headers
        assert receivers.deliver(port, event["id"], body).status == 204  # none of that has hurt it
        done = [line for line in receiver.printed() if line.startswith("message.")]
    assert done == [f"message.received {event['id']}", f"message.received {other['id']}"]


def forged(event_id: str, body: bytes) -> Iterator[tuple[dict[bytes, bytes], bytes]]:
    """What an attacker would try who does not know the secret."""
    at = int(time.time())
    signature = Signer((receivers.SECRET,)).sign(event_id, at, body).encode()
    good = {
        b"webhook-id": event_id.encode(),
        b"webhook-timestamp": str(at).encode(),
        b"webhook-signature": signature,
        b"content-type": b"application/json",
    }
    yield good, body.replace(b"Hello", b"Adieu")
    for name, value in (
        (b"webhook-id", b"evt_other"),
        (b"webhook-timestamp", str(at + 1).encode()),
        (b"webhook-timestamp", b"soon"),
        (b"webhook-signature", b"v1,"),
        (b"webhook-signature", signature[:-4]),
        (b"webhook-signature", b"v1,\xff\xfe"),
    ):
        yield {**good, name: value}, body
    for name in good.keys() - {b"content-type"}:
        yield {key: value for key, value in good.items() if key != name}, body


# For adapter authors


def test_the_adapter_shown_breaks_no_clause(tmp_path: Path) -> None:
    """The README's smallest adapter goes through the whole conformance suite, with recorded requests of its own."""
    path = tmp_path / "acme.py"
    path.write_text(DOCUMENT.block("python", "# acme.py").text)
    findings = check(path, ROOT / "tests/readme/acme", examples=10)
    assert findings == [], "\n".join(finding.message for finding in findings)


# The document itself


def test_links_lead_somewhere() -> None:
    """Files are there and headings too, in the README and in the changelog."""
    anchors = {anchor(heading) for heading in DOCUMENT.headings}
    for text in (DOCUMENT.text, (ROOT / "CHANGELOG.md").read_text("utf-8")):
        targets = re.findall(r"\]\(([^)]+)\)", text)
        assert targets
        for target in targets:
            if target.startswith("#"):
                assert target[1:] in anchors, target
            elif not target.startswith("https://"):
                assert (ROOT / target.partition("#")[0]).exists(), target


FOREIGN = [
    "/" + "work/",
    "/" + "root/",
    "/" + r"home/\w",
    "/" + "Users/",
    "py" + r"pi\.org",
    "python" + "hosted",
    "npm" + r"js\.(org|com)",
    "proxy" + r"\.golang",
    "crates" + r"\.io",
    "-" + r"-(extra-)?index-url[ =]",
]
"""Machine paths and registries, written so that this file is not found itself."""


def test_no_path_of_a_machine_and_no_registry_is_in_the_tree() -> None:
    """What is committed runs anywhere, and names no place packages come from."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is not a git checkout, or git is not installed")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert len(paths) > 100
    foreign = re.compile("|".join(FOREIGN))
    assert foreign.search("see /" + "work/main") is not None
    found = [
        f"{path.relative_to(ROOT)}: {hit[0]}"
        for path in paths
        if path.is_file() and (hit := foreign.search(path.read_text("utf-8", "replace")))
    ]
    assert found == []
