"""A store and a gateway for the tests of this folder; what depends on the kind of server is tested in tests/store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.intake.served import PATH_TOKEN, SECRET, Served, serving
from tests.support.stores import StoreServer, running

ADAPTER = Path(__file__).parent / "adapters_for_tests.py"
PUBLIC_KEY = Path(__file__).parent.parent / "fixtures" / "flexengage" / "_keys" / "known_answer_public.pem"

CONFIG = """
[gateway]
max_body = "64KiB"
body_timeout = "300ms"

[store]
url = "{url}"

[sources.br]
adapter = "enviaai"
secrets = ["env:NEW", "env:OLD"]

[sources.aivo]
adapter = "aivo_engage"
header = "x-auth-token"
secrets = ["env:AIVO"]

[sources.receipts]
adapter = "flexengage"
accounts = ["yourBrandId"]
public_key = "file:flex.pem"

[sources.receipts-fetched]
adapter = "flexengage"
accounts = ["yourBrandId"]

[sources.other-brand]
adapter = "flexengage"
accounts = ["anotherBrandId"]
public_key = "file:flex.pem"

[sources.chat]
adapter = "generic_chat"
path_token = "env:PATH_TOKEN"

[sources.open]
adapter = "generic_chat"
unauthenticated = true

[sources.many]
adapter = "{adapter}"
unauthenticated = true

[sources.broken]
adapter = "broken.py"
"""


@pytest.fixture(scope="session")
def shared_valkey() -> Iterator[StoreServer]:
    """One durable server for all tests of this folder; ask for ``valkey`` to find it empty."""
    with running("valkey") as started:
        yield started


@pytest.fixture
def valkey(shared_valkey: StoreServer) -> StoreServer:
    """A durable server with nothing on it."""
    shared_valkey.ask("FLUSHALL")
    return shared_valkey


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One gateway on a store of its own for all who only send it requests; each test looks at what is new."""
    directory = tmp_path_factory.mktemp("endpoint")
    (directory / "broken.py").write_text("raise ImportError('this adapter needs a library that is not there')\n")
    (directory / "flex.pem").write_bytes(PUBLIC_KEY.read_bytes())
    env = {"NEW": "whs_new", "OLD": SECRET.decode(), "AIVO": "aivo-token-0123456789", "PATH_TOKEN": PATH_TOKEN}
    with running("valkey") as server, serving(directory, CONFIG.format(url=server.url, adapter=ADAPTER), env) as served:
        yield served
