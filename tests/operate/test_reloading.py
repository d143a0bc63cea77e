"""Reading the file again: what is told to change, what waits for a restart, and who is let in afterwards."""

import asyncio
from pathlib import Path

from gateway.config import Config, Token, hash_token, load
from gateway.operate.access import Access
from gateway.reloading import changes, needs_restart
from tests.operate.staff import settings, staff

FIRST = """
[gateway]
admin_token = "env:T"
[sources.br]
adapter = "enviaai"
secrets = ["env:S"]
[subscribers.crm]
url = "https://crm.example.com/"
secrets = ["env:W"]
"""
ENV = {
    "T": "token-of-these-tests-0000000",
    "S": "secret-of-the-source",
    "W": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}


def read(tmp_path: Path, text: str, **env: str) -> Config:
    """A configuration of this text."""
    (tmp_path / "gateway.toml").write_text(text)
    return load(tmp_path / "gateway.toml", {**ENV, **env})


def test_a_changed_secret_is_a_change_though_the_file_is_the_same(tmp_path: Path) -> None:
    """What a reference leads to counts, and is named by its setting, never shown."""
    before = read(tmp_path, FIRST)
    after = read(tmp_path, FIRST, S="another-secret", T="another-token-of-these-tests")
    found = changes(before, after)
    assert [(each.what, each.change, each.settings) for each in found] == [
        ("sources.br", "changed", ["secrets"]),
        ("gateway.tokens.admin", "changed", ["secret"]),
    ]
    assert "another" not in str(found)
    assert changes(before, read(tmp_path, FIRST)) == []


def test_what_needs_a_restart_is_named_as_the_file_names_it(tmp_path: Path) -> None:
    """Settings of the process and of the store; not those that change at once."""
    before = read(tmp_path, FIRST)
    text = FIRST.replace("[gateway]", '[gateway]\nlisten = "127.0.0.1:9"\nmax_body = "2MiB"\nbody_timeout = "3s"')
    after = read(
        tmp_path, text + '[store]\nretention = "3d"\nurl = "redis://elsewhere"\n', T="another-token-of-these-tests"
    )
    assert needs_restart(before, after) == [
        *("gateway.body_timeout", "gateway.listen", "gateway.max_body"),
        *("store.retention", "store.url"),
    ]
    assert needs_restart(before, before) == []


def token(name: str, secret: str, role: str = "operate") -> Token:
    """A token."""
    return Token(name=name, role=role, secret_sha256=hash_token(secret))  # type: ignore[arg-type]  # one of the two roles


def test_a_token_that_is_gone_opens_nothing_and_neither_do_its_sessions() -> None:
    """Replaced, it is refused at once; a browser that it let in is out; others stay."""
    access = Access([token("a", "one"), token("b", "two")], monotonic=lambda: 0.0, secure_cookie=False)
    sessions = {}
    for secret in ("one", "two"):
        identity = access.by_token(secret)
        assert identity is not None
        sessions[secret] = access.open_session(identity)
    access.replace([token("a", "one"), token("b", "new")])
    assert (access.by_token("two"), access.by_session(sessions["two"])) == (None, None)
    assert access.by_token("new") is not None
    assert access.by_token("one") is not None
    assert access.by_session(sessions["one"]) is not None
    access.replace([token("a", "one", role="read")])
    assert access.by_session(sessions["one"]) is None, "it may less than before"


def test_one_of_the_file_takes_the_place_of_one_made_through_the_api(tmp_path: Path) -> None:
    """The file is the truth for what it names; when it names it no longer, the other is back."""

    async def run() -> None:
        async with staff(tmp_path, {}) as at:
            made = {"name": "crm", **settings(9, types=["booking.*"])}
            assert (await at.operator.post("/api/subscribers", json=made)).status_code == 201
            file = tmp_path / "gateway.toml"
            before = file.read_text()
            file.write_text(before + '[subscribers.crm]\nurl = "https://example.com/"\nsecrets = ["env:W"]\n')
            answer = (await at.operator.post("/api/reload")).json()
            assert [(each["what"], each["change"]) for each in answer["changes"]] == [("subscribers.crm", "added")]
            shown = (await at.operator.get("/api/subscribers/crm")).json()
            assert (shown["origin"], shown["settings"]["types"]) == ("file", ["*"])
            file.write_text(before)
            await at.operator.post("/api/reload")
            shown = (await at.operator.get("/api/subscribers/crm")).json()
            assert (shown["origin"], shown["settings"]["types"]) == ("api", ["booking.*"])

    asyncio.run(run())
