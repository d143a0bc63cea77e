"""An example of every body and of every answer, for the description. A test holds each against its schema."""

from typing import Any

from gateway.operate.api.examples_overview import ANSWERS as OVERVIEW

ID = "evt_hdvgbpm7wgvb2yt2wqsgnew4cu"
_AT = "2026-02-03T12:00:00.412Z"
_LATER = "2026-02-03T12:00:05.431Z"
_DUE = "2026-02-03T12:05:07.118Z"

_ATTEMPT = {
    "number": 1,
    "began_at": "2026-02-03T12:00:05.390Z",
    "at": _LATER,
    "cause": "http_500",
    "status": 500,
    "duration_ms": 41,
    "probe": False,
    "before_retry": False,
}
_SETTINGS = {"url": "https://crm.example.com/hooks", "secrets": ["env:CRM_SECRET"], "types": ["message.*"]}
_SUBSCRIBER: dict[str, Any] = {
    "name": "crm",
    "origin": "api",
    "state": "retrying",
    "words": "1 failed and waits for another attempt, mostly http_500; the next is due in 5 min",
    "paused": None,
    "pending": 1,
    "unread": 0,
    "dead": 0,
    "oldest_pending_s": 6.2,
    "settings": _SETTINGS,
    "public_keys": [],
    "mistakes": [],
}
_PAUSED = {**_SUBSCRIBER, "state": "paused", "words": "paused: deploying the new CRM; 1 waits", "paused": "deploying"}
_MOVED = {"word": "retry", "dry_run": False, "matched": 3, "moved": 3, "subscribers": {"crm": 3}, "ids": [ID]}
_DEAD = {
    "event_id": ID,
    "event_type": "message.received",
    "subscriber": "crm",
    "cause": "http_500",
    "status": 500,
    "detail": "the subscriber answered 500 Internal Server Error",
    "attempts": 10,
    "first_failed_at": _LATER,
    "died_at": "2026-02-06T15:40:12.001Z",
    "answer": "upstream is away",
    "history": [_ATTEMPT],
}
_TRACE = {
    "event_id": ID,
    "event_type": "message.received",
    "source": "enviaai-br",
    "partition": 0,
    "sequence": 412,
    "steps": [
        {"at": _AT, "what": "received", "words": "at enviaai-br, proven by hmac-sha256, mapped by enviaai/1"},
        {
            "at": "2026-02-03T12:00:05.414Z",
            "what": "logged",
            "words": "as number 412 of partition 0; ordering key chat_def456",
        },
    ],
    "subscribers": [
        {
            "subscriber": "crm",
            "state": "parked",
            "certain": True,
            "words": "crm answers 500; attempt 2 is due at 2026-02-03T12:05:07.118Z",
            "steps": [
                {"at": None, "what": "matched", "words": "asks for it with message.*"},
                {"at": _LATER, "what": "attempt", "words": "attempt 1: failed, answered 500, after 41 ms"},
                {"at": _DUE, "what": "due", "words": "crm answers 500; attempt 2 is due at 2026-02-03T12:05:07.118Z"},
            ],
            "attempts": [_ATTEMPT],
            "attempts_not_kept": 0,
        }
    ],
}
_DELIVERY = {
    "subscriber": "crm",
    "event_id": ID,
    "event_type": "message.received",
    "partition": 0,
    "sequence": 412,
    "state": "parked",
    "received_at": _AT,
    "attempts": 1,
    "cause": "http_500",
    "status": 500,
    "detail": "the subscriber answered 500 Internal Server Error",
    "due_at": _DUE,
    "died_at": None,
    "history": [_ATTEMPT],
}
_CAUSE = {
    "cause": "http_500",
    "words": "answers 500",
    "count": 3,
    "subscribers": {"crm": 3},
    "example": ID,
    "detail": "the subscriber answered 500 Internal Server Error",
    "first_died_at": "2026-02-06T15:40:12.001Z",
    "last_died_at": "2026-02-06T15:41:55.730Z",
}
_REPLAY: dict[str, Any] = {
    "id": "rpl_5qk2v7d3xw",
    "state": "running",
    "words": "runs; 120 delivered",
    "created_at": _AT,
    "created_by": "ops",
    "started_at": _LATER,
    "ended_at": None,
    "subscriber": "crm",
    "to": None,
    "selection": {"types": "message.*", "since": "2026-02-03T00:00:00.000Z"},
    "rate_per_s": 50.0,
    "progress": 0.4,
    "matched": 120,
    "delivered": 120,
    "requeued": 0,
    "failed": 0,
    "attempts": 121,
    "expired": 0,
    "waiting": None,
    "last_error": None,
    "failures": [],
}

_CHANGE = {
    "at": _AT,
    "who": "admin_token",
    "role": "operate",
    "address": "127.0.0.1",
    "what": "subscriber.pause",
    "subject": "crm",
    "before": {"paused": None},
    "after": {"paused": "deploying the new CRM"},
}

BODIES: dict[str, Any] = {
    "retry_dead": {"subscriber": "crm", "cause": "http_500"},
    "drop_dead": {"ids": [ID], "dry_run": True},
    "create_subscriber": {"name": "crm", "url": "https://crm.example.com/hooks", "types": ["message.*"]},
    "change_subscriber": {"concurrency": 8, "where": None},
    "pause_subscriber": {"reason": "deploying the new CRM"},
    "test_subscriber": {"type": "message.received"},
    "reload": {"dry_run": True},
    "create_replay": {"subscriber": "crm", "types": ["message.*"], "since": "yesterday", "rate": "50/s"},
}
"""Operation → an example of its body."""

ANSWERS: dict[str, Any] = {
    **OVERVIEW,
    "trace": _TRACE,
    "deliveries": {"items": [_DELIVERY], "next": None},
    "dead": {"items": [_DEAD], "next": None},
    "dead_causes": {"items": [_CAUSE], "next": None},
    "retry_dead": _MOVED,
    "drop_dead": {**_MOVED, "word": "drop", "dry_run": True, "moved": 0},
    "subscribers": {"items": [_SUBSCRIBER], "next": None},
    "subscriber": _SUBSCRIBER,
    "create_subscriber": {"subscriber": _SUBSCRIBER, "secret": "whsec_…"},
    "change_subscriber": {"subscriber": _SUBSCRIBER, "secret": None},
    "delete_subscriber": {"name": "crm", "forgotten": False, "pending": 1, "dead": 0},
    "pause_subscriber": _PAUSED,
    "resume_subscriber": _SUBSCRIBER,
    "test_subscriber": {
        "event_id": ID,
        "event_type": "message.received",
        "delivered": True,
        "status": 204,
        "cause": None,
        "detail": None,
        "duration_ms": 38,
        "answer": None,
        "at": _AT,
    },
    "reload": {
        "dry_run": True,
        "changes": [{"what": "subscribers.crm", "change": "changed", "settings": ["types"]}],
        "restart": ["gateway.log_level"],
    },
    "changes": {"items": [_CHANGE], "next": None},
    "replays": {"items": [_REPLAY], "next": None},
    "replay": _REPLAY,
    "create_replay": {"word": "created", "plan": None, "replay": _REPLAY, "secret": None},
    "cancel_replay": {**_REPLAY, "state": "cancelled", "words": "cancelled; 120 delivered"},
    "resume_replay": _REPLAY,
}
"""Operation → an example of what it answers when all is well."""
