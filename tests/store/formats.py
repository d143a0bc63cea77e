"""A store as a format of the layout leaves it, with something of everything: ``python -m tests.store.formats FOLDER``.

Made once for each ``FORMAT``, by the version that first writes it, and kept in ``tests/store/format_<FORMAT>/``: a
backup, and beside it ``facts.json``, what the gateway said of it. ``test_formats.py`` opens them all for ever after.
"""

import json
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from adapters.contract import Request
from adapters.enviaai import ADAPTER as ENVIAAI
from gateway.intake.pipeline import Events, receive
from gateway.intake.spool_file import SpoolFile, new_row
from gateway.store.backup import CONTENTS, LOG_FOLDER, SECRETS, TOKEN, make_backup
from gateway.store.lease import owner_name
from gateway.store.log import Batch, NewEvent
from gateway.store.opening import gateway_version
from tests.cli.running import SOURCE, Running, gateway

TOML = """
[store]
url = "embedded:./data"
partitions = 2
retention = "3650d"
[sources.br]
adapter = "enviaai"
secrets = ["env:S"]
[subscribers.keyed]
url = "http://127.0.0.1:9/"
secrets = ["env:W"]
allow_networks = ["127.0.0.0/8"]
types = ["message.received"]
order = "key"
retry = ["24h"]
max_lag = "3650d"
start = "beginning"
[subscribers.once]
url = "http://127.0.0.1:9/"
secrets = ["env:W"]
allow_networks = ["127.0.0.0/8"]
types = ["message.read"]
retry = []
max_lag = "3650d"
start = "beginning"
"""
"""Nothing of it is ever old."""


def facts(at: Running) -> dict[str, Any]:
    """What a gateway says of its store: the account, and what each list holds."""
    token = (at.folder / "data" / TOKEN).read_text().strip()
    with httpx.Client(
        base_url=f"{at.url}/api", headers={"authorization": f"Bearer {token}"}, trust_env=False, timeout=30
    ) as client:

        def get(path: str) -> Any:
            answer = client.get(path)
            assert answer.status_code == 200, (path, answer.text)
            return answer.json()

        ledger = get("/ledger")
        return {
            "ledger": {name: ledger[name] for name in ("requests", "events", "subscribers", "unaccounted")},
            "events": sorted(each["id"] for each in get("/events?limit=1000")["items"]),
            "dead": sorted((each["event_id"], each["cause"]) for each in get("/dead?limit=1000")["items"]),
            "waiting": sorted(
                (each["subscriber"], each["event_id"], each["state"]) for each in get("/deliveries?limit=1000")["items"]
            ),
            "quarantine": [each["body"] for each in get("/quarantine")["items"]],
            "rejected": [each["body"] for each in get("/rejected")["items"]],
            "changes": [each["what"] for each in get("/changes")["items"]],
            "replays": [(each["id"], each["state"]) for each in get("/replays")["items"]],
            "subscribers": sorted((each["name"], each["origin"]) for each in get("/subscribers")["items"]),
        }


def make(target: Path) -> None:
    """Make the backup and the facts in ``target``."""
    with tempfile.TemporaryDirectory(prefix="gateway-format-") as name:
        folder = Path(name)
        with gateway(folder, TOML) as at:
            _use(at)
            (target.parent / "facts.tmp").write_text(json.dumps(facts(at), indent=1, sort_keys=True) + "\n")
        for each in (folder / "data" / LOG_FOLDER).glob("*.incr.aof"):  # nothing of the machine it was made on
            here = "/".join(owner_name().split("/")[:2]).encode()
            each.write_bytes(each.read_bytes().replace(here, b"x" * len(here)))
        (folder / "data" / TOKEN).unlink()
        shutil.rmtree(folder / "data" / SECRETS, ignore_errors=True)
        (folder / "spool").mkdir(exist_ok=True)
        file = SpoolFile.create(folder / "spool" / "1.spool")
        file.append([new_row(0, "spooled", 1, _batch(900), 1)])
        file.close()
        shutil.rmtree(target, ignore_errors=True)
        make_backup(
            folder / "data",
            folder / "spool",
            target,
            made_at="",
            version=gateway_version(),
            config=Path("gateway.toml"),
            progress=lambda _: None,
        )
    (target.parent / "facts.tmp").rename(target / "facts.json")
    assert socket.gethostname().encode() not in b"".join(each.read_bytes() for each in target.rglob("*.aof"))
    assert (target / CONTENTS).exists()


def _use(at: Running) -> None:
    made = at.gateway(
        "subscribers",
        "create",
        "made",
        "http://127.0.0.1:9/",
        "--set",
        'allow_networks=["127.0.0.0/8"]',
        "--type",
        "payment.*",
    )
    assert made.code == 0, made.err
    for seed in range(6):
        at.send("message.read__documented", seed)
    for seed in range(6):  # two of each conversation: the second is held behind the first
        body = json.loads(ENVIAAI.sample("message.received__documented", 100 + seed))
        body["data"]["chatId"] = f"chat_{seed % 3}"
        _post(at, json.dumps(body).encode(), 200)
    first = at.send("message.read__documented", 0)  # a duplicate
    _post(at, b"{", 200)
    body = ENVIAAI.sample("message.read__documented", 50)
    assert httpx.post(f"{at.url}/in/br", content=body + b" ", headers=ENVIAAI.sign(body, SOURCE, 0)).status_code == 401
    deadline_s = time.monotonic() + 30
    while True:
        found = facts(at)
        states = [state for name, _, state in found["waiting"] if name == "keyed"]
        if len(found["dead"]) == 6 and sorted(states) == ["held"] * 3 + ["parked"] * 3 and found["rejected"]:
            break
        assert time.monotonic() < deadline_s, found
        time.sleep(0.05)
    done = at.gateway("dead", "drop", first, "--subscriber", "once", "--yes")
    assert done.code == 0, done.err
    done = at.gateway("pause", "once", "--why", "kept for later versions")
    assert done.code == 0, done.err
    words = ("--id", first, "--to", "http://127.0.0.1:9/", "--secret", "env:W", "--allow-network", "127.0.0.0/8")
    at.gateway("replay", *words, "--detach", "--yes")
    while [state for _, state in facts(at)["replays"]] in ([], ["planned"], ["running"]):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def _post(at: Running, body: bytes, status: int) -> None:
    answer = httpx.post(f"{at.url}/in/br", content=body, headers=ENVIAAI.sign(body, SOURCE, 0), trust_env=False)
    assert answer.status_code == status, answer.text


def _batch(seed: int) -> Batch:
    """One request of one event, as the committer hands it over."""
    body = ENVIAAI.sample("message.read__documented", seed)
    headers = tuple((name.encode(), value.encode()) for name, value in ENVIAAI.sign(body, SOURCE, 0).items())
    outcome = receive(Request(headers, body), SOURCE, ENVIAAI, {}, time.time_ns() // 1_000_000)
    assert isinstance(outcome, Events)
    events = [NewEvent(each.event.id, "br", 3_600, each.event_json, each.raw_json) for each in outcome.events]
    return Batch(events, [("br", "accepted", 1)], [], [])


if __name__ == "__main__":
    make(Path(sys.argv[1]))
