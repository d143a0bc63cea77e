"""What a process that only delivers says of webhooks: that it takes none, and who does."""

import asyncio
from pathlib import Path

import httpx
import pytest

from gateway.app import Gateway, Role
from gateway.cli.serve import _banner
from gateway.config import Config, load

TOML = """
[sources.br]
adapter = "enviaai"
secrets = ["env:S"]
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """One source."""
    (tmp_path / "gateway.toml").write_text(TOML)
    return load(tmp_path / "gateway.toml", {"S": "secret-of-the-source"})


@pytest.mark.parametrize(("path", "is_intake"), [("/in/br", True), ("/in", True), ("/inx", False), ("/ni", False)])
def test_a_webhook_sent_to_it_is_told_where_to_go(config: Config, path: str, is_intake: bool) -> None:
    """404, since it will not be there later either; whatever else is not there has its own words."""

    async def run() -> None:
        transport = httpx.ASGITransport(Gateway(config, role="delivery", listen=("127.0.0.1", 1)).asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
            answer = await client.post(path, content=b"{}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert ("it has the role delivery" in answer.json()["detail"]) is is_intake

    asyncio.run(run())


@pytest.mark.parametrize("role", ["all", "intake", "delivery"])
def test_the_banner_names_sources_and_spool_where_there_are_any(
    config: Config, role: Role, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who only delivers takes no webhooks, and has no spool."""
    said = {"dashboard": "http://127.0.0.1:1/login", "appendfsync": "always", "away": "", "spool_broken": "", "pid": 1}
    _banner(config, role, ("127.0.0.1", 1), [said], as_json=False)
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    intake = ["webhooks"] if role == "delivery" else ["spool", "sources"]
    assert names == ["listening", "store", *intake, "subscribers", "dashboard"]
