"""Requests on a socket: what is accepted, where it must be sent to, and what is our own fault."""

import json
import re
import threading
from collections import Counter

import pytest

from gateway.store.ledger import Requests
from tests.intake.served import PATH_TOKEN, PLEASE, SECRET, Served, fresh, read_all, receipt, signed


def test_a_proven_request_is_logged_and_answered_200(gateway: Served) -> None:
    """The answer names the request and its event, which is in the log by then."""
    body = fresh()
    answer = gateway.post("/in/br", body, signed(body))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    found = answer.json
    assert sorted(found) == ["events", "request", "status"]
    assert found["status"] == "accepted"
    assert found["request"].startswith("req_")
    ((event),) = found["events"]
    assert (event["type"], event["status"]) == ("message.received", "logged")
    assert event["id"] == gateway.names()[-1]


def test_a_retry_is_a_duplicate(gateway: Served) -> None:
    """The same body again, also under another of the source's secrets, is the same event and is logged once."""
    body = fresh()
    first = gateway.post("/in/br", body, signed(body)).json
    for secret in (SECRET, b"whs_new"):
        again = gateway.post("/in/br", body, signed(body, secret))
        assert (again.status, again.json["status"]) == (200, "duplicate")
        assert again.json["events"] == [{**first["events"][0], "status": "duplicate"}]
        assert again.json["request"] != first["request"]
    assert gateway.names().count(first["events"][0]["id"]) == 1


def test_fifty_copies_at_once_are_one_event(gateway: Served) -> None:
    """Whichever comes first is accepted; the others, in the same batch or not, are duplicates."""
    body, answers = fresh(), []
    threads = [
        threading.Thread(target=lambda: answers.append(gateway.post("/in/br", body, signed(body)))) for _ in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(answer.json["status"] for answer in answers) == {"accepted": 1, "duplicate": 49}


def test_every_kind_of_proof(gateway: Served) -> None:
    """The controls of the refusals below: header, path token, RSA signature, and none where somebody typed so."""
    body, headers = receipt()
    assert gateway.post("/in/receipts", body, headers).status == 200
    assert gateway.post("/in/aivo", b'{"message_id":"1"}', {"x-auth-token": "aivo-token-0123456789"}).status == 200
    assert gateway.post(f"/in/chat/{PATH_TOKEN}", b'{"event":"x"}').status == 200
    assert gateway.post("/in/open", b'{"event":"x"}').status == 200


def test_a_query_is_no_part_of_the_path(gateway: Served) -> None:
    """A provider that appends parameters reaches its source."""
    body = fresh()
    assert gateway.post("/in/br?a=b&c=/in/x", body, signed(body)).status == 200


def test_a_request_with_several_events(gateway: Served) -> None:
    """Each has its answer; only where all are duplicates the request is one."""

    def send(*ids: str) -> tuple[str, list[str]]:
        body = json.dumps({"items": [{"id": each} for each in ids]}).encode()
        found = gateway.post("/in/many", body, PLEASE).json
        return found["status"], [event["status"] for event in found["events"]]

    assert send("a", "b") == ("accepted", ["logged", "logged"])
    assert send("b", "c") == ("accepted", ["duplicate", "logged"])
    assert send("c", "a") == ("duplicate", ["duplicate", "duplicate"])
    assert send("d", "d") == ("accepted", ["logged", "logged"])  # two events of one request stay two
    assert send("d", "d") == ("duplicate", ["duplicate", "duplicate"])


def test_an_ignored_type_is_answered_and_counted(gateway: Served) -> None:
    """It is no event, and is not kept, but the provider need not send it again."""
    before = gateway.requests("many")
    answer = gateway.post("/in/many", b"{}", PLEASE)
    assert (answer.status, answer.json["status"], answer.json["events"]) == (200, "ignored", [])
    assert gateway.requests("many").ignored == before.ignored + 1


def test_requests_follow_one_another_on_a_connection(gateway: Served) -> None:
    """Also after a refusal, and sent before the answer to the one before has come."""
    first, second = fresh(), fresh()
    bad = b"POST /in/br HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
    good = [
        b"POST /in/br HTTP/1.1\r\nhost: x\r\nx-enviaai-signature: %s\r\ncontent-length: %d\r\n%s\r\n"
        % (str(signed(body)["x-enviaai-signature"]).encode(), len(body), close)
        + body
        for body, close in ((first, b""), (second, b"connection: close\r\n"))
    ]
    with gateway.connect() as connection:
        connection.sendall(good[0] + bad + good[1])
        statuses = re.findall(rb"HTTP/1.1 (\d+)", read_all(connection))
    assert statuses == [b"200", b"401", b"200"]


@pytest.mark.parametrize(
    "path",
    [
        *("/in/nobody", "/inx", "/in", "/in/", "/in//br", "/in/br/", "/in/br/a/b", "/in/BR", "/in/b%72", "/in/br%2fx"),
        *("/in/br%00", "/in/../in/br", "/in/./br", "/in/chat/", "/in/-", "/in/%ff"),
    ],
)
def test_unknown_paths(gateway: Served, path: str) -> None:
    """Only the exact name of a configured source, written plainly, with at most a token behind it, is one."""
    body = fresh()
    answer = gateway.post(path, body, signed(body))
    assert (answer.status, answer.problem()) in ((404, "unknown_source"), (404, "not_found"))


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"])
def test_other_methods(gateway: Served, method: str) -> None:
    """405 names the one that is allowed."""
    answer = gateway.post("/in/br", b"", method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    if method != "HEAD":
        assert answer.problem() == "method_not_allowed"


def test_none_of_this_is_received(gateway: Served) -> None:
    """404 and 405 belong to nobody's account: the provider still owns the request."""
    before = gateway.ledger().requests
    gateway.post("/in/nobody", b"{}")
    gateway.post("/in/br", b"{}", method="PUT")
    assert gateway.ledger().requests == before


def test_a_broken_adapter_breaks_its_own_source(gateway: Served) -> None:
    """Its requests come again later; the other sources work."""
    answer = gateway.post("/in/broken", b"{}")
    assert (answer.status, answer.problem(), answer.headers["retry-after"]) == (503, "unavailable", "5")
    assert "library" not in answer.body.decode()
    body = fresh()
    assert gateway.post("/in/br", body, signed(body)).status == 200
    assert gateway.requests("broken") == Requests()


def test_a_defect_in_a_proof_is_ours(gateway: Served) -> None:
    """verify raises what it must not: neither a 500 nor a 401, and nothing of the error in the answer."""
    answer = gateway.post("/in/many", b"defect in verify", PLEASE)
    assert (answer.status, answer.problem()) == (503, "unavailable")
    assert b"secret" not in answer.body
    assert gateway.post("/in/many", b"{}", {}).status == 401
