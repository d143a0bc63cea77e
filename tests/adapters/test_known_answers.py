"""Signatures that were computed with independent tools, byte for byte."""

import base64
from pathlib import Path

from adapters import engium, enviaai, flexengage, generic_chat
from adapters.contract import Source
from adapters.proving import sign_hmac
from schemas.event import event_id
from tests.adapters.support import method, refusal, request

KEYS = Path(__file__).parent.parent / "fixtures" / "flexengage" / "_keys"


def test_hmac_sha256() -> None:
    """Key my-shared-secret, body {"examplePayload":true}."""
    body, wanted = b'{"examplePayload":true}', "bcdbb89e3031905f3cc1a20d16b5f969a17a7d8fa0c26e4a807c2193402d66f4"
    source = Source(name="engium", secrets=(b"my-shared-secret",))
    assert sign_hmac(body, source, "sha256") == wanted
    assert method(engium.ADAPTER, request(body, {"x-engium-signature": wanted}), source) == "hmac-sha256"


def test_enviaai() -> None:
    """The sample of message.received, compacted in the page's key order, key whs_test."""
    body = (
        b'{"event":"message.received","timestamp":"2026-02-03T12:00:00.000Z","data":{"messageId":"msg_abc123",'
        b'"instanceId":"inst_xyz789","chatId":"chat_def456","from":"5511999999999","type":"text","content":"Hello!",'
        b'"timestamp":"2026-02-03T12:00:00.000Z","contactName":"John Doe","isGroup":false}}'
    )
    wanted = "sha256=21c429bd8c49bca861a56bc0954ee67c62a5bc051e5395784551a4f054ca3aac"
    source = Source(name="enviaai-br", secrets=(b"whs_test",))
    assert enviaai.ADAPTER.sign(body, source, 0)["x-enviaai-signature"] == wanted
    assert method(enviaai.ADAPTER, request(body, {"x-enviaai-signature": wanted}), source) == "hmac-sha256"


def test_generic_chat() -> None:
    """The sample of smsDeliveryReport, compacted, key oneroute_test, SHA-512."""
    body = (
        b'{"event":"smsDeliveryReport","message":null,"conversation":{"id":"1234567","externalId":"1234567890",'
        b'"status":"delivered","reason":"Message delivered to handset","from":"Name","to":"12345678","units":0,'
        b'"delivered_time":"2023-08-29T08:18:31.732Z","createdAt":"2023-08-29T08:18:28.576Z"}}'
    )
    wanted = (
        "00680fc8c22f5dc16d0a088e974b3eba565514f354d815c9dbf0bdd54cf50448"
        "8ebd5e3857bc20707d249acbdce45883f0bd02bd9b2bbd1f05bf974f4c7565f2"
    )
    source = Source(name="chat", secrets=(b"oneroute_test",))
    assert generic_chat.ADAPTER.sign(body, source, 0)["x-oneroute-signature"] == wanted
    assert method(generic_chat.ADAPTER, request(body, {"x-oneroute-signature": wanted}), source) == "hmac-sha512"


BODY = (
    b'{"id":"01F2SFVYVD0H873S2VRT8VQSPM","brandId":"yourBrandId","webhookId":"9e21c694-ee9e-48a7-b016-522fd8ef08c1",'
    b'"attemptId":"01F2SFW32CT8KZXDWG4JTG9WPT","created":"2021-04-08T19:36:02.938Z","type":"NOTIFICATION.SMS.RECEIPT",'
    b'"data":{"phoneNumber":"+1234456789","message":"I am an SMS message","locale":"en-US"}}'
)
SIGNATURE = (
    "4SUqdLO19AAfdJFa6sw9nO/GUJukaNUPxshg5VttJ38MVSgHt7ncfkKtGd9xtbyNlhlDIF88ezixZYBwrh4wHyIvnuSGHuC8uRq/kS62GY1oezkK"
    "ZXaXNrEZJ8leNjSMKzxlEwhtYWR1L+4Q2GyNL9R+YXi8BAMc0hGemha/ePxMOfZm8cbzlU08TNqYHpvEU5o8T8ptbB8jDzCTpzA/zgs1VK2ODwO5"
    "OmE2xBJiITzFC85d6Hw8cG1mKZHopO+7+x4c4ZMURr8sTDo1UfF3rjkdVTK9pOydiunE75HcK4uL0kQPzkbA65l9rL91hSU9FSH0UQkbGT+F1es+"
    "Cfe29g=="
)
URL = "https://assets.webhooks.flexengage.com/keys/known.pem"


def test_flexengage_pinned_and_fetched() -> None:
    """RSASSA-PKCS1-v1_5 with SHA-256, made with openssl; the key pinned, and the key from its URL."""
    pem = (KEYS / "known_answer_public.pem").read_bytes()
    pinned = Source(name="receipts", accounts=("yourBrandId",), public_key=pem)
    fetched = Source(name="receipts", accounts=("yourBrandId",))
    asked = request(BODY, {"x-fr-wh-authorization": SIGNATURE, "x-fr-wh-pk": URL})
    assert method(flexengage.ADAPTER, asked, pinned) == "rsa-sha256"
    assert flexengage.ADAPTER.key_wanted(asked, fetched) == URL
    assert method(flexengage.ADAPTER, asked, fetched, {URL: pem}) == "rsa-sha256"


def test_flexengage_another_signature() -> None:
    """The positive control: one bit of the genuine signature changed, and it is refused."""
    pem = (KEYS / "known_answer_public.pem").read_bytes()
    changed = bytearray(base64.b64decode(SIGNATURE))
    changed[100] ^= 1
    asked = request(BODY, {"x-fr-wh-authorization": base64.b64encode(changed)})
    assert "does not fit" in refusal(
        flexengage.ADAPTER, asked, Source(name="r", accounts=("yourBrandId",), public_key=pem)
    )


def test_event_id() -> None:
    """The design's own example."""
    assert event_id(["enviaai-br", "message.received", "msg_abc123"]) == "evt_hdvgbpm7wgvb2yt2wqsgnew4cu"
