"""What can be wrong with a store. Every error of this package is a `StorageError`."""


class StorageError(Exception):
    """Base of all storage errors."""


class StoreMissingError(StorageError):
    """There is no store in this folder."""


class StoreExistsError(StorageError):
    """There is a store in this folder already."""


class StoreInUseError(StorageError):
    """Another process holds the store's lock."""


class StoreVersionError(StorageError):
    """The store was written in a format that this version does not know."""


class StoreFencedError(StorageError):
    """The store's epoch is not ours: another process opened it after us."""


class CommitError(StorageError):
    """A commit did not succeed; whether it is durable is unknown until the store is reopened."""


class CabinetError(StorageError):
    """The cabinet cannot be used (`storage.cabinet`); the shards are not concerned."""


class CorruptRowError(StorageError):
    """A row's bytes are not what was written.

    Attributes:
        table: the table's name.
        key: the row's key.
        detail: what does not fit.
    """

    def __init__(self, table: str, key: bytes, detail: str) -> None:
        super().__init__(f"corrupt row in {table}, key {readable(key)}: {detail}")
        self.table = table
        self.key = key
        self.detail = detail


def readable(key: bytes) -> str:
    """Return a row's key for people: a sequence as a number, anything else as escaped text."""
    if len(key) == 8 and key[0] == 0:
        return str(int.from_bytes(key, "big"))
    return key.decode("latin-1").encode("unicode_escape").decode("ascii")
