"""Reading the file again: what is told to change, what waits for a restart, and who is let in afterwards."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from adapters import enviaai
from gateway.config import Config, load
from gateway.operate.changes import Actor
from gateway.operate.refusals import Refused
from gateway.reloading import Reloader, changes, needs_restart, outdated
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
SECOND = """
[sources.second]
adapter = "acme_for_reload.by_module"
secrets = ["env:S"]
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


async def untold(_who: Actor, _before: dict[str, Any], _after: dict[str, Any]) -> None:
    """No audit log."""


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


def test_another_code_of_an_adapter_is_a_change_or_waits_for_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path is loaded afresh by each reload; a module was imported once, and it is said that it has changed since."""
    code = Path(enviaai.__file__).read_text("utf-8")
    package = tmp_path / "acme_for_reload"
    package.mkdir()
    files = [tmp_path / "by_path.py", package / "by_module.py"]
    for file in files:
        file.write_text(code.replace('name="enviaai"', f'name="{file.stem}"'))
    monkeypatch.syspath_prepend(tmp_path)
    text = FIRST.replace('"enviaai"', '"by_path.py"') + SECOND
    before = read(tmp_path, text)
    assert (changes(before, read(tmp_path, text)), outdated(before)) == ([], [])
    for file in files:
        file.write_text(file.read_text() + "# mended\n")
    after = read(tmp_path, text)
    assert [(each.what, each.change, each.settings) for each in changes(before, after)] == [
        ("sources.br", "changed", ["code"])
    ]
    assert outdated(after) == ["acme_for_reload.by_module"]


def test_what_needs_a_restart_does_not_change_by_a_reload(tmp_path: Path) -> None:
    """A reload with another ``store.url`` once moved the folder where the secrets of the API's subscribers are sought:
    none of them could be read any more, and at the next change their deliveries stopped."""
    before = read(tmp_path, FIRST)
    after = read(
        tmp_path,
        FIRST.replace("crm.example.com", "new.example.com").replace("[gateway]", '[gateway]\nmax_body = "2MiB"')
        + '[store]\nurl = "embedded:elsewhere"\n',
        T="another-token-of-these-tests",
    )
    given: list[Config] = []

    async def subscribers(config: Config) -> None:
        given.append(config)

    reloader = Reloader(
        before,
        read=lambda: after,
        replace_sources=given.append,
        replace_tokens=given.append,
        replace_subscribers=subscribers,
        tell=untold,
    )
    for _ in range(2):
        answer = asyncio.run(reloader.reload(dry_run=False, who=Actor(name="test", role="operate")))
        assert answer.restart == ["gateway.max_body", "store.url"], "said again until it is done"
    assert len(given) == 6
    for config in given:
        assert config.store == before.store
        assert config.gateway.max_body_bytes == before.gateway.max_body_bytes
        assert config.gateway.tokens == after.gateway.tokens
        assert config.subscribers == after.subscribers


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no source and no subscriber any more"),
        ('[gateway]\nadmin_token = "env:T"\n', "names no source and no subscriber any more"),
        (FIRST.replace("https:", "ftp:"), "gateway.toml:8: subscribers.crm.url is not an http or https URL"),
        (FIRST + "where = \"event.chanel == 'a'\"\n", "no event has event.chanel"),
        (FIRST + "retry = [", "is not TOML"),
        (FIRST.replace("env:W", "env:NONE"), "secrets[0]"),
        (None, "does not exist"),
    ],
)
@pytest.mark.parametrize("dry_run", [True, False])
def test_a_file_with_a_mistake_changes_nothing(tmp_path: Path, text: str | None, words: str, dry_run: bool) -> None:
    """Not a source, a token or a subscriber; nor does one that an editor has just emptied. What follows is reloaded."""
    before = read(tmp_path, FIRST)
    given: list[Config] = []

    async def subscribers(config: Config) -> None:
        given.append(config)

    reloader = Reloader(
        before,
        read=lambda: load(tmp_path / "gateway.toml", ENV),
        replace_sources=given.append,
        replace_tokens=given.append,
        replace_subscribers=subscribers,
        tell=untold,
    )
    if text is None:
        (tmp_path / "gateway.toml").unlink()
    else:
        (tmp_path / "gateway.toml").write_text(text)
    with pytest.raises(Refused, match="nothing was changed") as refusal:
        asyncio.run(reloader.reload(dry_run=dry_run, who=Actor(name="test", role="operate")))
    assert words in str(refusal.value)
    assert str(tmp_path) not in str(refusal.value)
    assert given == []
    (tmp_path / "gateway.toml").write_text(FIRST.partition("[subscribers")[0])  # sources alone are something
    answer = asyncio.run(reloader.reload(dry_run=False, who=Actor(name="test", role="operate")))
    assert [(each.what, each.change) for each in answer.changes] == [("subscribers.crm", "removed")]
    assert len(given) == 3


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
