"""Every error the gateway raises on purpose.

::

    GatewayError
    ├── ConfigError            exit 3   the file is wrong; all mistakes at once, each with file:line
    ├── StoreError
    │   ├── StoreUnavailable   503      the store cannot be reached, or does not answer
    │   │   └── StoreRefuses   503      it answers, and refuses for reasons of its own: loading, full, read-only, rights
    │   ├── NotDurable         exit 3   the store would acknowledge before the fsync; names the setting
    │   ├── StoreMismatch      exit 3   the store was first used with another number of partitions or format
    │   └── LeaseLost                   another process owns the partition now; stop settling it at once
    ├── BatchRefused           503      a batch is one that the store never takes, whoever sends it when
    ├── BackupRefused                   a copy of the store cannot be made, or not be put there
    ├── SpoolError
    │   ├── SpoolRefused       503      the spool cannot take it now: full, turned off by its disk, or busy
    │   ├── SpoolUnreadable             a file of the spool is damaged; it is set aside, never deleted
    │   └── SpoolFormat                 a file of the spool was written by another version; it is left alone
    ├── IntakeFull             503      more requests wait for the store than the bound allows
    ├── KeyUnavailable         503      the provider's key host did not answer; ours to report, theirs to retry
    └── TargetRefused                   a subscriber's URL leads where deliveries may not go

``adapters.contract`` has two more, which never leave the intake: ``NotProven`` (401) and ``Unmappable`` (quarantine).
"""


class GatewayError(Exception):
    """The root of the tree above."""


class ConfigError(GatewayError):
    """The configuration is wrong. ``problems`` holds every mistake, each with its place and what to write instead."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StoreError(GatewayError):
    """Something about the store."""


class StoreUnavailable(StoreError):
    """The store cannot take this now. Nothing was acknowledged; trying again later is right."""


class StoreRefuses(StoreUnavailable):
    """The store answers, and refuses. The message has its words, which name no place of this machine."""


class NotDurable(StoreError):
    """The store's settings would lose acknowledged events. The message names the line to change."""


class StoreMismatch(StoreError):
    """The store holds data of another shape than the configuration asks for."""


class LeaseLost(StoreError):
    """Another process took the partition over."""


class BatchRefused(GatewayError):
    """It is the batch itself that the store does not take. Sent again, it would be refused again."""


class BackupRefused(GatewayError):
    """A backup cannot be made, or put back. The message says why, and what to do."""


class SpoolError(GatewayError):
    """Something about the spool."""


class SpoolRefused(SpoolError):
    """The spool cannot take this now. Nothing was acknowledged."""


class SpoolUnreadable(SpoolError):
    """A file of the spool, or a batch in one, is not what was written."""


class SpoolFormat(SpoolError):
    """A file of the spool has the format of another version."""


class IntakeFull(GatewayError):
    """The bounded queue before the store is full."""


class KeyUnavailable(GatewayError):
    """The public key a request needs could not be fetched, through no fault of the request."""


class TargetRefused(GatewayError):
    """Deliveries may not connect there. The message says which address and which rule."""
