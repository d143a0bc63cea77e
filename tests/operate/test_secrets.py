"""Nothing secret gets out: every answer is searched for every secret there is."""

import asyncio

from gateway.config import StoreSettings
from tests.operate.office import OPERATE_TOKEN, READ_TOKEN, SOURCE_SECRET, SUBSCRIBER_SECRET, office
from tests.operate.test_dead_api import bury
from tests.operate.test_events_api import log_credential
from tests.operate.test_gate import log_in, routes_of
from tests.operate.test_stream import listening

SECRETS = {
    "the secret of a source": SOURCE_SECRET,
    "the secret of a subscriber": SUBSCRIBER_SECRET,
    "the same without its prefix": SUBSCRIBER_SECRET.removeprefix("whsec_"),
    "what a subscriber's URL holds": "key=hidden",
    "a login credential of a provider": "THE-CREDENTIAL",
    "a signature as sent": "ab" * 32,
    "a token for reading": READ_TOKEN,
    "a token for operating": OPERATE_TOKEN,
}


def test_no_answer_holds_a_secret(store_settings: StoreSettings) -> None:
    """Every route is asked as operator and as browser, with secrets in events, bodies, headers and answers."""

    async def run() -> None:
        async with office(store_settings) as at:
            ids = await bury(at, 2)
            credential = await log_credential(at)
            body = f"{SOURCE_SECRET} {SUBSCRIBER_SECRET}".encode()
            await at.keep("quarantined", 1, body)
            await at.keep("rejected", 2, body)
            browser, _ = await log_in(at)
            link = await at.access.new_login("http://gateway.test")
            paths = [path for method, path in routes_of(at.app) if method == "GET" and not path.endswith("/stream")]
            paths += [f"{base}/{name}" for base in ("/events", "/api/events") for name in (credential, ids[0])]
            paths += ["/api/events?raw=true&limit=1000", "/events?type=channel.*", "/schema/openapi.json"]
            assert len(paths) > 25
            cursor = (await at.reader.get("/api/events?limit=1")).json()["next"]
            async with browser:
                texts = []
                for client in (at.operator, browser):
                    for path in paths:
                        answer = await client.get(path)
                        texts.append((path, answer.text + repr(answer.headers)))
                async with listening(at, last_event_id=cursor) as line:
                    await line.until(lambda: len(line.messages) >= 2)
                    texts.append(("/api/events/stream", line.text))
            for path, text in texts:
                for what, secret in SECRETS.items():
                    assert secret not in text, (path, what)
                assert link.rpartition("/")[2] not in text
            # The search could have found them: they are where the gateway keeps them.
            found = repr(await at.store.call("XRANGE", at.keys[0].quarantine, "-", "+"))
            found += repr(await at.store.call("XRANGE", at.keys[0].log, "-", "+"))
            found += repr(await at.store.call("HVALS", at.keys[0].subscriber("crm").dead))
            for what in ("the secret of a source", "a signature as sent", "a login credential of a provider"):
                assert SECRETS[what] in found
            assert any("[credential]" in text for _, text in texts)

    asyncio.run(run())


def test_secrets_do_not_show_in_representations(store_settings: StoreSettings) -> None:
    """Whatever ends up in a traceback or a log line by accident holds hashes at most."""

    async def run() -> None:
        async with office(store_settings) as at:
            nonce = (await at.access.new_login("http://h")).rpartition("/")[2]
            shown = repr(vars(at.access)) + repr(at.config)
            assert nonce not in shown
            for what in ("the secret of a source", "the secret of a subscriber", "a token for operating"):
                assert SECRETS[what] not in shown, what

    asyncio.run(run())
