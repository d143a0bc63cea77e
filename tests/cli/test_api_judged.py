"""An independent judge of the API: schemathesis asks a real gateway everything its description allows, and more.

As nobody, with a token of role read, and with one of role operate. No answer may be a server's error or another than
the description says. The stream of events is left out: it does not end.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.cli.running import Running, gateway

READ = "read-token-of-the-judge-00"
TOML = """
[[gateway.tokens]]
name = "judge"
role = "read"
secret = "env:R"
[sources.br]
adapter = "enviaai"
secrets = ["env:S"]
[subscribers.crm]
url = "http://127.0.0.1:9/"
secrets = ["env:W"]
allow_networks = ["127.0.0.0/8"]
types = ["booking.*"]
"""
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway with two events and a token of role read."""
    folder: Path = tmp_path_factory.mktemp("judged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("R", READ)
        with gateway(folder, TOML) as started:
            for seed in (1, 2):
                started.send("message.received__documented", seed)
            yield started


@pytest.fixture(scope="module")
def description(running: Running) -> Path:
    """What it says of itself, in a file."""
    answer = httpx.get(f"{running.url}/schema/openapi.json", headers=_head(READ), trust_env=False)
    assert answer.status_code == 200
    path = running.folder / "openapi.json"
    path.write_bytes(answer.content)
    return path


def _head(token: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token else {}


def judge(running: Running, description: Path, token: str | None, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the judge with a token."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(description), "--url", running.url]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", "5", "--checks", CHECKS, "--no-color"]
    command += ["--exclude-path", "/api/events/stream", "--request-timeout", "10", "--seed", "1", *more]
    for name, value in _head(token).items():
        command += ["-H", f"{name}: {value}"]
    return subprocess.run(command, cwd=running.folder, capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("role", ["nobody", "read", "operate"])
def test_every_answer_is_one_that_the_description_has(running: Running, description: Path, role: str) -> None:
    """Hundreds of requests, right and wrong, and no answer that was not announced."""
    admin = (running.folder / "data" / "admin_token").read_text().strip()
    # Who may change things is also followed from one answer to the next: what is made is looked at, and ended.
    more = ("--phases", "examples,coverage,fuzzing,stateful") if role == "operate" else ()
    done = judge(running, description, {"nobody": None, "read": READ, "operate": admin}[role], *more)
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-1_000:]
    assert running.ledger()["unaccounted"] == 0


def test_the_judge_notices_an_answer_that_is_another(running: Running, description: Path) -> None:
    """The same judge with a description that promises something else finds it."""
    said = json.loads(description.read_bytes())
    said["components"]["schemas"]["Health"]["properties"]["status"] = {"type": "integer"}
    wrong = running.folder / "wrong.json"
    wrong.write_text(json.dumps(said))
    done = judge(running, wrong, None, "--include-path", "/healthz")
    assert done.returncode == 1, done.stdout[-2_000:]
    assert "healthz" in done.stdout
