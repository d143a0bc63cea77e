"""No secret gets out: every kind of secret is a canary, everything is done once, and all that came out is searched.

Searched are logs at debug level (as JSON and as text), metrics, pages, API answers, delivered bodies, what the command
prints, representations and tracebacks, the files in the data folder, and every key of the store and every command of
its append-only file, but those of quarantine and rejected: these hold requests as they came.
"""

import contextlib
import json
import re
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from gateway.app import Gateway
from gateway.config import load
from gateway.delivery.attempt import Sender
from gateway.delivery.guard import Guard
from tests.canary.birds import Birds, forms, leaks
from tests.canary.scene import Receiver, Scene, environment, receiving
from tests.canary.store import EXCLUDED, commands_of, keys_of
from tests.operate.test_roles import RULES
from tests.support.stores import StoreServer, running


class Flown:
    """What is left when everything has been done."""

    def __init__(self, birds: Birds, scene: Scene, server: StoreServer, receiver: Receiver, client: Any) -> None:
        self.birds, self.scene, self.server, self.receiver, self.client = birds, scene, server, receiver, client


@pytest.fixture(scope="module")
def flown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flown]:
    """Everything there is to do with a gateway, done."""
    birds = Birds()
    folder = tmp_path_factory.mktemp("canary")
    with running("valkey", "--aof-use-rdb-preamble", "no") as server, receiving() as receiver:
        passwords: list[str] = []

        def store_url(password: str) -> str:
            passwords.append(password)
            return f"unix://:{password}@{server.socket}"

        env = environment(birds, receiver, store_url)
        client = redis.Redis(unix_socket_path=str(server.socket))
        client.config_set("requirepass", passwords[0])
        client.auth(passwords[0])
        scene = Scene(birds, folder, env, receiver, "json")
        with contextlib.closing(scene.gateway.start()), contextlib.closing(client):
            do_everything(scene)
            scene.gateway.kill()
            (folder / "gateway.toml").write_text(
                (folder / "gateway.toml").read_text().replace('log_format = "json"', 'log_format = "text"')
            )
            scene.gateway.start()
            scene.verb("status")
            scene.provider()
            birds.add("a login link", re.findall(r"/login/([\w-]+)", str(scene.gateway.ready))[0])
            yield Flown(birds, scene, server, receiver, client)


def do_everything(scene: Scene) -> None:
    """Take, refuse, deliver, fail, bury, retry, replay, reload with mistakes, look at everything in every way."""
    birds, env = scene.birds, scene.env
    scene.provider()
    with scene.client(env["CANARY_ADMIN"]) as operator, scene.client(env["CANARY_READ"]) as reader:
        scene.wait(lambda: len(operator.get("/api/dead").json()["items"]) >= 3)
        for who in ("wrong-token", env["CANARY_ADMIN"][:-1]):
            with scene.client(who) as wrong:
                scene.ask(wrong, "POST", "/api/reload", json={})
        link = re.findall(r"/login/([\w-]+)", scene.gateway.ready["dashboard"])[0]
        birds.add("the first login link", link)
        with scene.client(None) as browser:
            browser.get(f"/login/{link}")
            answer = browser.post(f"/login/{link}")
            birds.add("a session", answer.cookies["gateway_session"])
            pages(scene, browser)
            scene.ask(browser, "POST", "/dead/retry", data={"cause": "http_500"})
            answer = browser.post("/login/", data={"token": env["CANARY_READ"]})
            birds.add("another session", answer.cookies["gateway_session"])
        made = operator.post("/api/subscribers", json={"name": "api", "url": f"http://127.0.0.1:{scene.receiver.port}/x",
                                                       "allow_networks": ["127.0.0.0/8"]}).json()  # fmt: skip
        birds.add("a secret that was made", made["secret"])
        for method, path, body in (
            ("PATCH", "/api/subscribers/api", {"secrets": [env["CANARY_WHSEC"]]}),
            ("PATCH", "/api/subscribers/api", {"headers": {"authorization": "env:CANARY_OUT"}}),
            ("PATCH", "/api/subscribers/api", {"types": ["message.*"], "secrets": None}),
            ("POST", "/api/subscribers/echo/test", {}),
            ("POST", "/api/subscribers/echo/pause", {"reason": "for a while"}),
            ("POST", "/api/subscribers/echo/resume", {}),
            ("POST", "/api/dead/retry", {"ids": [operator.get("/api/dead").json()["items"][0]["event_id"]]}),
            ("POST", "/api/alerts/test", {}),
            ("POST", "/api/replays", {"subscriber": "echo", "since": "1h"}),
            ("POST", "/api/replays", {"since": "1h", "to": {"url": f"http://127.0.0.1:{scene.receiver.port}/r",
                                                            "allow_networks": ["127.0.0.0/8"]}}),
        ):  # fmt: skip
            answer = operator.request(method, path, json=body)
            if secret := (answer.json().get("secret") if answer.is_success else None):
                birds.add(f"a secret made by {method} {path}", secret)  # told once, in this answer
            else:
                scene.keep(f"{method} {path}", answer.text)
        scene.ask(operator, "DELETE", "/api/subscribers/api?forget=true")
        scene.wait(lambda: all(
            each["state"] not in ("planned", "running") for each in operator.get("/api/replays").json()["items"]
        ))  # fmt: skip
        mistakes(scene)
        for client in (operator, reader):
            pages(scene, client)
        verbs(scene, operator.get("/api/events").json()["items"][0]["id"])
        last = operator.get("/api/dead").json()["items"][-1]["event_id"]
        scene.ask(operator, "POST", "/api/dead/drop", json={"ids": [last]})


def pages(scene: Scene, client: Any) -> None:
    """Every route that looks, with an event's id in the place of names."""
    listed = client.get("/api/events?limit=50").json()["items"]
    for rule in RULES:
        method, path = rule.split(" ")
        if method != "GET" or path.endswith("/stream") or path.startswith("/login/{"):
            continue
        if "{event_id}" in path:
            for event in listed:
                scene.ask(client, method, path.replace("{event_id}", event["id"]))
        else:
            scene.ask(client, method, path.replace("{name}", "echo").replace("{replay_id}", "rpl_"))
    scene.ask(client, "GET", "/api/events?raw=true&limit=1000")
    cursor = client.get("/api/events?limit=1&order=oldest").json()["next"]
    with client.stream("GET", f"/api/events/stream?after={cursor}") as stream:
        scene.keep("the stream", next(stream.iter_text()))


def mistakes(scene: Scene) -> None:
    """Files with mistakes, secrets where they do not belong; each told to the command, the API and the log."""
    toml = scene.folder / "gateway.toml"
    good, inline = toml.read_text(), scene.birds.new("a secret written into the file")
    for bad in (
        good.replace('"env:CANARY_NEW", "env:CANARY_OLD"', f'"{inline}"'),
        good.replace('"env:CANARY_WHSEC"', f'"{inline}"'),
        good.replace('"env:CANARY_PATH"', f'"{inline}"'),
        good.replace("env:CANARY_ALERT_WHSEC", "env:CANARY_PATH"),
        good.replace("env:CANARY_WHSK", "env:CANARY_ADMIN"),
        good.replace('url = "env:CANARY_URL"', 'url = "env:CANARY_PATH"'),
        good.replace('url = "env:CANARY_STORE"', 'url = "env:CANARY_PATH"'),
        good.replace('"env:CANARY_OUT"', '"env:CANARY_OUT\\n"'),
        good + f"[{inline}",
    ):
        toml.write_text(bad)
        scene.verb("check", offline=True)
        scene.verb("reload", "--yes")
    toml.write_text(good)
    scene.verb("reload", "--yes")


def verbs(scene: Scene, event_id: str) -> None:
    """Everything the command can show, as text and as JSON."""
    for words in (
        *(["check"], ["check", "--effective"], ["urls"]),
        *(["status"], ["events"], ["show", event_id], ["trace", event_id], ["audit"], ["changes", "--limit", "1000"]),
        *(
            ["dead", "list"],
            ["dead", "causes"],
            ["subscribers", "list"],
            ["subscribers", "show", "echo"],
            ["replay", "list"],
        ),
    ):
        offline = words[0] in ("check", "urls")
        for more in ([], ["--json"]):
            scene.verb(*words, *more, offline=offline)


def test_everything_was_done(flown: Flown) -> None:
    """A search through nothing finds nothing: each kind of place has something in it, and the canaries came by."""
    places = flown.scene.out
    for wanted in (
        "/api/dead →",
        "GET /metrics",
        "GET /rejected",
        "gateway trace",
        "gateway check",
        "/api/reload",
        "the stream",
    ):
        assert any(wanted in place for place in places), wanted
    assert len(places) > 200
    words = flown.scene.gateway.words()
    for wanted in (
        "delivery.attempt",
        "delivery.dead",
        "operate.refused",
        "operate.change",
        "operate.reload",
        "alert.raised",
    ):
        assert wanted in words, (wanted, sorted(set(re.findall(r'"event":"([\w.]+)"', words))))
    assert '"level":"debug"' in words
    assert "[debug" in words
    bodies = {where for where, _ in flown.receiver.bodies}
    assert {"hooks", "good", "alerts", "r"} <= bodies
    dead = "".join(text for place, text in places.items() if "/api/dead" in place)
    assert "[credential]" in dead, "the subscriber did echo"
    kept = b"".join(repr(flown.client.xrange(f"{{0}}{each.decode()}")).encode() for each in EXCLUDED)
    assert {"a source's header token", "the token in a subscriber URL"} & set(flown.birds.found(kept)) == {
        "a source's header token"
    }


def test_no_answer_page_or_output_holds_a_secret(flown: Flown) -> None:
    """Of all that was shown to anybody, in every form a secret can take."""
    assert leaks(flown.birds, flown.scene.out) == []


def test_no_log_line_holds_a_secret(flown: Flown) -> None:
    """Text and JSON, at debug level; the positive control is a line with each of them."""
    lines = flown.scene.gateway.words().splitlines()
    assert len(lines) > 50
    assert [f"{name}: {line}" for line in lines for name in flown.birds.found(line)] == []
    for secret, name in list(flown.birds._names.items()):
        for form in forms(secret):
            assert name in flown.birds.found(b'{"event":"oops","url":"' + form + b'"}'), name


def test_no_delivered_body_holds_a_secret(flown: Flown) -> None:
    """What was forwarded, replayed or told in an alert; what a provider sent as its credentials neither."""
    assert len(flown.receiver.bodies) > 20
    assert leaks(flown.birds, {f"a body to {where}": body for where, body in flown.receiver.bodies}) == []


def test_no_key_of_the_store_holds_a_secret(flown: Flown) -> None:
    """Key by key, and command by command as the append-only file has them."""
    keys = list(keys_of(flown.client))
    assert {"{0}:log", "{0}:changes", "{0}:state", "{0}:sub:echo:dead", "{0}:sessions"} <= {
        name.removeprefix("the key ") for name, _ in keys
    }
    assert [f"{name} in {place}" for place, text in keys for name in flown.birds.found(text)] == []
    assert flown.birds.found((flown.server.directory / "log").read_bytes()) == []
    files = sorted((flown.server.directory / "appendonlydir").glob("*.aof"))
    commands = [each for file in files for each in commands_of(file)]
    assert len(commands) > 200
    assert [f"{name} in {place}" for place, text in commands for name in flown.birds.found(text)] == []


def test_no_file_of_the_data_folder_holds_a_secret(flown: Flown) -> None:
    """But the two that are made to hold one, which are for their owner alone."""
    data = flown.scene.folder / "data"
    looked_at = 0
    for path in data.rglob("*"):
        if not path.is_file():
            continue
        looked_at += 1
        if path.name == "admin_token" or path.parent.name == "secrets":
            assert path.stat().st_mode & 0o077 == 0
        else:
            assert flown.birds.found(path.read_bytes()) == [], path.name
    assert looked_at >= 1


def test_no_representation_or_traceback_holds_a_secret(flown: Flown) -> None:
    """Whatever is built from the configuration, all the way down, and a traceback that shows every local variable."""
    config = load(flown.scene.folder / "gateway.toml", flown.scene.env)
    gateway = Gateway(config, role="all", listen=("127.0.0.1", 1))
    sender = Sender(config.subscribers["echo"], Guard(), wall_ms=int, monotonic=float)
    seen: set[int] = set()
    shown: list[str] = []

    def walk(value: object, depth: int) -> None:
        if id(value) in seen or depth > 6:
            return
        seen.add(id(value))
        module = type(value).__module__
        if module.startswith(("gateway", "adapters", "redis")):
            shown.append(repr(value) + str(value))
            inner = getattr(value, "__dict__", {})
            slots = [getattr(value, name, None) for name in getattr(value, "__slots__", ())]
            for each in [*inner.values(), *slots]:
                walk(each, depth + 1)
        elif isinstance(value, dict):
            for each in value.values():
                walk(each, depth + 1)
        elif isinstance(value, list | tuple):
            for each in value:
                walk(each, depth + 1)

    for each in (config, gateway, sender, *config.sources.values(), *config.subscribers.values()):
        walk(each, 0)
    assert len(shown) > 60
    assert [f"{name} in {text[:200]}" for text in shown for name in flown.birds.found(text)] == []

    def fail(config: Any, settings: Any, source: Any, sender: Any, token: Any) -> None:
        raise RuntimeError("a defect")

    try:
        fail(config, config.subscribers["echo"], config.sources["br"], sender, config.gateway.tokens)
    except RuntimeError:
        kind, error, trace = sys.exc_info()
        whole = traceback.TracebackException(kind, error, trace, capture_locals=True)  # type: ignore[arg-type]  # one is
        text = "".join(whole.format())
    assert "settings = SubscriberSettings(name='echo'" in text
    assert flown.birds.found(text) == []
    spilled = json.dumps({"positive": flown.scene.env["CANARY_PATH"]})
    assert flown.birds.found(spilled) == ["a path token"]
