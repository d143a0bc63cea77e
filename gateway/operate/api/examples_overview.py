"""Examples of what tells how the whole does: ledger, status, audit, events, requests that were kept, health."""

from typing import Any

_AT = "2026-02-03T12:00:00.412Z"
_LINE = {
    "offered": 412,
    "delivered": 400,
    "filtered": 11,
    "dead": 0,
    "discarded": 0,
    "pending": 1,
    "unaccounted": 0,
}
_REQUESTS = {"received": 420, "accepted": 410, "ignored": 4, "quarantined": 1, "rejected": 5}
_EVENTS = {"produced": 413, "logged": 412, "duplicate": 1, "spooled": 0}
_LEDGER = {
    "at": _AT,
    "requests": _REQUESTS,
    "events": _EVENTS,
    "subscribers": {"crm": _LINE},
    "unaccounted": 0,
}
EVENT: dict[str, Any] = {
    "id": "evt_hdvgbpm7wgvb2yt2wqsgnew4cu",
    "type": "message.received",
    "schema": "1.0",
    "occurred_at": "2026-02-03T12:00:00.000Z",
    "received_at": _AT,
    "provider": "enviaai",
    "source": "enviaai-br",
    "account": "inst_xyz789",
    "channel": "whatsapp",
    "ordering_key": "chat_def456",
    "origin": "live",
    "data": {
        "kind": "message",
        "message_id": "msg_abc123",
        "conversation_id": "chat_def456",
        "direction": "inbound",
        "sender": {"id": "5511999999999", "phone": "+5511999999999", "name": "John Doe", "role": "customer"},
        "content": {"type": "text", "text": "Hello!"},
        "is_group": False,
    },
    "provenance": {
        "provider_type": "message.received",
        "provider_id": None,
        "adapter": "enviaai/1",
        "verified": "hmac-sha256",
        "raw_sha256": "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c",
    },
}
"""An event as the API lists it (without raw)."""

_STATUS = {
    "at": _AT,
    "ledger": _LEDGER,
    "replays": {
        "states": {"running": 1, "done": 3},
        "waiting": 0,
        "delivered": 5_120,
        "requeued": 12,
        "failed": 2,
        "attempts": 5_131,
        "items": [
            {
                "id": "rpl_5qk2v7d3xwrb4m6a",
                "state": "running",
                "words": "runs: 120 delivered, 0 failed so far",
                "target": "crm",
                "progress": 0.4,
                "created_at": _AT,
                "ended_at": None,
            }
        ],
    },
    "sources": [
        {
            "name": "enviaai-br",
            "adapter": "enviaai",
            "configured": True,
            "broken": None,
            "last_event_at": _AT,
            "last_heard_at": _AT,
            "silent": False,
            "account": {"requests": _REQUESTS, "events": _EVENTS},
        }
    ],
    "subscribers": [
        {
            "name": "crm",
            "state": "delivering",
            "words": "1 on the way",
            "paused": None,
            "types": ["*"],
            **_LINE,
            "unread": 1,
            "parked": 0,
            "held": 0,
            "in_flight": 1,
            "attempts": {"delivered": 400, "http_500": 3},
            "oldest_pending_s": 0.1,
            "next_attempt_at": None,
            "lag_used": 0.01,
        }
    ],
    "store": {
        "kind": "embedded",
        "server": "valkey 9.1.2",
        "durability": "fsync",
        "settings": {"appendonly": "yes", "appendfsync": "always"},
        "memory_bytes": 3_400_000,
        "memory_limit_bytes": 0,
        "log_bytes": 512_000,
        "log_entries": 412,
        "retention_bytes": 536_870_912,
        "quarantined": 1,
        "spool": {
            "configured": True,
            "requests": 0,
            "events": 0,
            "bytes": 0,
            "limit_bytes": 536_870_912,
            "files": 0,
            "oldest_at": None,
            "put_aside": 0,
            "unreadable": {},
        },
        "partitions": [
            {
                "number": 0,
                "last_sequence": 412,
                "log_entries": 412,
                "log_bytes": 512_000,
                "owner": "host/boot/space/4711/1/ab12cd34",
                "epoch": 3,
                "lease_left_ms": 2_400,
            }
        ],
    },
    "workers": [{"worker": 0, "pid": 4_711}],
    "alerts": {"configured": True, "standing": 0, "unsent": 0, "failing_since": None, "why": None},
    "problems": [
        {
            "severity": "warn",
            "what": "crm: 1 failed and waits for another attempt",
            "count": 1,
            "kind": "waiting",
            "cause": "retrying",
            "subscriber": "crm",
            "source": None,
            "command": "gateway status",
            "page": None,
        }
    ],
}
_KEPT = {
    "place": "1770120000412-0",
    "request": "req_0f3a5c1b2d4e00000001",
    "source": "enviaai-br",
    "adapter": "enviaai",
    "received_at": _AT,
    "reason": "the body is JSON, but not an object",
    "verified": "hmac-sha256",
    "client_ip": "192.0.2.7",
    "path_token": False,
    "headers": [["content-type", "application/json"], ["x-enviaai-signature", "[masked, 71 characters]"]],
    "body_bytes": 5,
    "body": "[1,2]",
}

ANSWERS: dict[str, Any] = {
    "healthz": {"status": "ok"},
    "readyz": {"status": "ready", "degraded": {}},
    "metrics": 'gateway_pending_events{subscriber="crm",where="unread"} 1.0\n',
    "ledger": _LEDGER,
    "status": _STATUS,
    "audit": {"ledger": _LEDGER, "findings": []},
    "events": {"items": [EVENT], "next": "bDo0MTI"},
    "event": {
        "event": EVENT,
        "raw": {"event": "message.received"},
        "partition": 0,
        "sequence": 412,
        "deliveries": [
            {"subscriber": "crm", "state": "pending", "certain": True, "words": "crm has not read this far"}
        ],
    },
    "follow": 'retry: 2000\n\nid: bDo0MTI\ndata: {"id":"evt_hdvgbpm7wgvb2yt2wqsgnew4cu"}\n\n',
    "test_alert": {
        "alert_id": "alt_0f3a5c1b2d4e6f708192a3b4",
        "sent": False,
        "status": 404,
        "why": "answers 404",
        "duration_ms": 38,
        "answer": "no_service",
    },
    "quarantine": {"items": [_KEPT], "next": None},
    "rejected": {"items": [{**_KEPT, "reason": "the signature is another", "verified": None}], "next": None},
}
"""Operation → an example of what it answers when all is well."""
