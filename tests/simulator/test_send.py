"""``gateway send`` against a small receiver that proves with the real adapters."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.enviaai import ADAPTER
from gateway.cli import main
from gateway.simulator import scene
from tests.simulator.test_provider import Receiver, receiving


class Sender:
    """Runs the command on the demo's configuration."""

    def __init__(self, config: Path, receiver: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
        self.receiver = receiver
        self._config = config
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        with pytest.raises(SystemExit) as left:
            main(["send", *arguments, "--config", str(self._config)])
        said = self._capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    @property
    def last(self) -> dict[str, Any]:
        """The body that arrived last."""
        body: dict[str, Any] = json.loads(self.receiver.requests[-1][2])
        return body


@pytest.fixture
def send(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Sender]:
    for name in ("GATEWAY_SEND_SIGNING_KEY", "GATEWAY_SEND_KEY_URL"):
        monkeypatch.delenv(name, raising=False)
    drawn = scene.draw_secrets()
    with receiving(drawn) as (receiver, base_url):
        config = scene.write(tmp_path, drawn, listen=base_url.removeprefix("http://"), subscriber_port=1)
        yield Sender(config, receiver, capsys)


@pytest.mark.parametrize(
    ("source", "case"),
    [("engium", "booking.conf"), ("aivo", "msg_status.read"), ("enviaai-br", "message.read"), ("chat", "newMessage")],
)
def test_sends_what_the_source_proves(send: Sender, source: str, case: str) -> None:
    """With nothing but the configuration: right URL, right secret, exit code 0, and the event's id."""
    code, out, err = send(source, case)
    assert (code, err) == (0, "")
    assert "→ 200 accepted · other evt_1 logged" in out
    assert [(name, proven) for name, proven, _ in send.receiver.requests] == [(source, True)]


def test_flexengage_says_that_only_flexengage_can_sign_and_takes_a_key_where_there_is_one(
    send: Sender, tmp_path: Path
) -> None:
    """Without a private key it explains what to do; with the demo's key the request is proven."""
    code, _, err = send("receipts", "NOTIFICATION.SMS")
    assert code == 2
    assert "signs with a private key that only it has" in err
    assert 'public_key = "file:test-key.pem"' in err
    key = str(tmp_path / scene.PRIVATE_KEY_FILE)
    assert send("receipts", "NOTIFICATION.SMS", "--signing-key", key, "--key-url", scene.KEY_URL)[0] == 0
    assert send.receiver.requests[-1][:2] == ("receipts", True)
    (tmp_path / "no.pem").write_text("no key")
    code, _, err = send("receipts", "NOTIFICATION.SMS", "--signing-key", str(tmp_path / "no.pem"))
    assert code == 2
    assert "not a private key in PEM" in err


def test_a_401_is_explained_from_the_configuration(send: Sender, tmp_path: Path) -> None:
    """The gateway tells a sender nothing; the configuration's owner learns which check failed."""
    key = ("--signing-key", str(tmp_path / scene.PRIVATE_KEY_FILE), "--key-url", scene.KEY_URL)
    code, out, err = send("receipts", "NOTIFICATION.SMS", *key, "--set", "brandId=somebodyElse")
    assert code == 1
    assert "401 rejected · not_proven" in out
    assert "the signed brandId is none of the source's accounts" in err


def test_times_and_set_make_many_different_events_with_the_change(send: Sender) -> None:
    """Each request has ids of its own and the value asked for; the summary counts them."""
    code, out, _ = send("enviaai-br", "message.received", "--times", "3", "--rate", "200/s", "--set", "data.content=Hi")
    assert code == 0
    bodies = [json.loads(body) for _, _, body in send.receiver.requests]
    assert [body["data"]["content"] for body in bodies] == ["Hi"] * 3
    assert len({body["data"]["messageId"] for body in bodies}) == 3
    assert out.splitlines()[-1].endswith("3 accepted")


def test_json_is_one_object_a_line(send: Sender) -> None:
    """The same lines as the demo's, so that one reader does for both."""
    code, out, _ = send("aivo", "msg_status.sent", "--times", "2", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [(line["event"], line["source"], line["status"]) for line in lines] == [("request", "aivo", 200)] * 2


def test_without_a_case_the_cases_are_listed_with_what_they_become(send: Sender) -> None:
    """Every case of the adapter, and the canonical type, quarantine or other that comes of it."""
    code, out, _ = send("enviaai-br", "--json")
    becomes = {line["case"]: line["becomes"] for line in map(json.loads, out.splitlines())}
    assert code == 0
    assert list(becomes) == list(ADAPTER.cases)
    assert becomes["instance.qr_updated__documented"] == "channel.qr_updated"
    assert becomes["message.edited__unknown"] == "other"
    assert becomes["message.received__data_null"] == "(quarantine)"
    assert "message.edited__unknown" in send("enviaai-br")[1]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("chatt", "newMessage"), 2, "no source is called 'chatt' in gateway.toml; did you mean chat?"),
        (("chat", "newMesage"), 2, "did you mean newMessage?"),
        (("chat", "newMessage", "--rate", "3"), 2, "--rate 3 is not a rate"),
        (("chat", "newMessage", "--set", "x"), 2, "path=value"),
        (("chat", "newMessage", "--set", "event.x=1"), 2, "--set: cannot set event.x"),
        (("chat", "newMessage", "--url", "http://127.0.0.1:1"), 4, "no gateway answers at http://127.0.0.1:1/in/chat:"),
    ],
)
def test_each_mistake_is_answered_with_what_to_do(
    send: Sender, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """Exit code 2 for what is written wrong, 4 for nobody there; the path token is never shown."""
    left, out, err = send(*arguments)
    assert left == code
    assert words in err
    assert send.receiver.sources["chat"][0].url.rpartition("/")[2] not in out + err
