"""Framing: where requests begin and end in a connection's bytes, and that nobody could differ.

h11 0.16 takes a bare LF for a line's end, joins folded lines, skips control characters and bounds
only what is incomplete. So it gets a header block when that has come in whole and is what RFC 9112
wants from a sender, no more lenient: whatever two parsers might read in two ways (sections 2.2, 5
and 6) is a fault that ends the connection. Bodies pass as they come, chunks by their sizes.
"""

import re
from collections.abc import Callable
from typing import Final

from gateway.errors import RequestCode, RequestError
from gateway.listener.bounds import Bounds

_END: Final = b"\r\n"
_CONTROLS: Final = bytes({*range(0x20), 0x7F} - {0x09, 0x0A, 0x0D})
"""Control characters but HTAB and those of a line's end."""
_REQUEST_LINE: Final = re.compile(rb"[A-Z][A-Z-]{0,31} [\x21-\x7e]+ HTTP/([0-9]\.[0-9])")
# One expression for all fields: line by line it took 50 µs. It is asked once every LF is known to
# follow its CR; a set that leaves out both took four times as long as the dot.
_FIELDS: Final = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:.*\n)*+")
_FRAMING_FIELD: Final = re.compile(
    rb"^(?:host|content-length|transfer-encoding):", re.IGNORECASE | re.MULTILINE
)
_ONCE: Final = "Host is wanted once, Content-Length and Transfer-Encoding at most once"
_LENGTH: Final = re.compile(rb"[0-9]{1,15}")
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_CHUNK: Final = re.compile(
    rb"([0-9A-Fa-f]{1,8})(?:;%b(?:=(?:%b|\"[\t\x20!\x23-\x5b\x5d-\x7e]*\"))?)*" % (_TOKEN, _TOKEN)
)


class Framing:
    """Reads what comes in on one connection before anybody else does.

    Attributes:
        fault: what was wrong; nothing that comes after it is let through.
        heads: how many header blocks have come in whole.
        host: what the last of them says in Host, in lower case.
        upgrade: whether it asks for another protocol (RFC 9110, section 7.8).
    """

    __slots__ = (
        "_bounds",
        "_chunks",
        "_held",
        "_left",
        "_seen",
        "_step",
        "fault",
        "heads",
        "host",
        "upgrade",
    )

    def __init__(self, bounds: Bounds) -> None:
        self.fault: RequestError | None = None
        self.heads = 0
        self.host = b""
        self.upgrade = False
        self._bounds = bounds
        self._held = bytearray()
        # Functions, not methods: those would refer to this object, and only the garbage
        # collector would ever free it.
        self._step: Callable[[Framing, bytearray], bool] = Framing._head
        self._left = 0  # bytes of a body or chunk that have not come in
        self._chunks = 0
        self._seen = 0  # bytes of a header block that have been looked at

    @property
    def in_head(self) -> bool:
        """Whether a header block has begun and not ended."""
        return bool(self._held) and self._step == Framing._head

    @property
    def in_body(self) -> bool:
        """Whether the rest of a body is to come."""
        return self._step != Framing._head

    def take(self, data: bytes) -> None:
        """Take what has come in."""
        if self.fault is None:
            self._held += data

    def sound(self) -> bytes:
        """Return what of it can be let through: of one request, with its end at most.

        Nothing is left once it returns nothing, but for what is incomplete or has a fault.
        """
        passed = bytearray()
        try:
            while self._held and self._step(self, passed) and self.in_body:
                pass
        except RequestError as fault:
            self.fault = fault
            self._held.clear()
        return bytes(passed)

    def rest(self) -> bytes:
        """Return what has come in behind what was let through, for whoever takes over from here."""
        rest = bytes(self._held)
        self._held.clear()
        return rest

    def _pass(self, passed: bytearray, size: int) -> None:
        passed += self._held[:size]
        del self._held[:size]
        self._seen = 0

    def _head(self, passed: bytearray) -> bool:
        held = self._held
        while held.startswith(_END):  # RFC 9112, section 2.2: after a body, from old clients
            del held[:2]
            self._seen = 0
        end = self._block()
        line_end = held.find(_END)
        if max(line_end, 0 if line_end >= 0 else len(held)) > self._bounds.line_bytes:
            raise RequestError(
                RequestCode.TARGET_TOO_LONG, f"at most {self._bounds.line_bytes} bytes in a line"
            )
        if line_end < 0:
            return False
        # An HTTP/0.9 client sends nothing after it, and waits.
        version = _version(bytes(held[:line_end]))
        if not end:
            return False
        self._check_fields(line_end + 2, end - 2)
        self._begin_body(line_end + 2, end - 2, version)
        self._pass(passed, end)
        self.heads += 1
        return True

    def _block(self) -> int:
        """Return where the lines end that an empty one ends, or 0 if that has not come in.

        Raises:
            RequestError: HEADERS_TOO_LARGE; MALFORMED_REQUEST for what may not be in them.
        """
        held = self._held
        end = held.find(b"\r\n\r\n", max(0, self._seen - 3)) + 4
        end = end if end > 3 else 0
        size = end or len(held)
        if not _is_text(held, self._seen, size):
            raise RequestError(
                RequestCode.MALFORMED_REQUEST, "a control character, or a line that LF alone ends"
            )
        if size > self._bounds.head_bytes:
            raise RequestError(
                RequestCode.HEADERS_TOO_LARGE, f"at most {self._bounds.head_bytes} bytes"
            )
        self._seen = size
        return end

    def _check_fields(self, begin: int, end: int) -> None:
        """Check lines that are held, each with its end.

        Raises:
            RequestError: HEADERS_TOO_LARGE, MALFORMED_REQUEST.
        """
        if self._held.count(_END, begin, end) > self._bounds.fields_max:
            raise RequestError(
                RequestCode.HEADERS_TOO_LARGE, f"at most {self._bounds.fields_max} fields"
            )
        if not _FIELDS.fullmatch(self._held, begin, end):
            # Folded lines and blanks before the colon are among them.
            raise RequestError(RequestCode.MALFORMED_REQUEST, "a line that is no header field")

    def _begin_body(self, begin: int, end: int, version: bytes) -> None:
        """Find out from the fields between, which are checked, what follows them."""
        # From the end of the line before on: each name follows an LF.
        fields = self._held[begin - 1 : end].lower()
        length = _value(fields, b"\ncontent-length:")
        coding = _value(fields, b"\ntransfer-encoding:")
        host = _value(fields, b"\nhost:")
        if host is None:
            raise RequestError(RequestCode.MALFORMED_REQUEST, _ONCE)
        self.host = bytes(host).strip(b"\t ")
        self.upgrade = b"\nupgrade:" in fields
        if coding is not None:
            if length is not None or version == b"1.0":
                raise RequestError(
                    RequestCode.MALFORMED_REQUEST,
                    "Transfer-Encoding goes with neither Content-Length nor HTTP/1.0",
                )
            if coding != b"chunked":
                raise RequestError(RequestCode.TRANSFER_CODING)
            self._chunks = 0
            self._step = Framing._chunk
        elif length is not None:
            if not _LENGTH.fullmatch(length):
                raise RequestError(RequestCode.MALFORMED_REQUEST, "Content-Length is no number")
            self._left = int(length)
            if self._left:
                self._step = Framing._sized

    def _sized(self, passed: bytearray) -> bool:
        size = min(self._left, len(self._held))
        self._pass(passed, size)
        self._left -= size
        if not self._left:
            self._step = Framing._head
        return True

    def _chunk(self, passed: bytearray) -> bool:
        longest = self._bounds.chunk_line_bytes
        end = self._held.find(_END, 0, longest + 2)
        if end < 0:
            if len(self._held) > longest + 1 or not _is_text(self._held, 0, len(self._held)):
                raise RequestError(
                    RequestCode.MALFORMED_REQUEST, f"a chunk's line has at most {longest} bytes"
                )
            return False
        size = _CHUNK.fullmatch(self._held, 0, end)
        self._chunks += 1
        if size is None or self._chunks > self._bounds.chunks_max:
            raise RequestError(
                RequestCode.MALFORMED_REQUEST,
                f"a chunk begins with its size; at most {self._bounds.chunks_max} chunks",
            )
        self._left = int(size[1], 16)
        self._step = Framing._chunk_data if self._left else Framing._trailers
        self._pass(passed, end + 2)
        return True

    def _chunk_data(self, passed: bytearray) -> bool:
        size = min(self._left, len(self._held))
        self._pass(passed, size)
        self._left -= size
        if not self._left:
            self._step = Framing._chunk_end
        return True

    def _chunk_end(self, passed: bytearray) -> bool:
        if not _END.startswith(self._held[:2]):
            raise RequestError(RequestCode.MALFORMED_REQUEST, "a chunk is longer than its size")
        if len(self._held) < 2:
            return False
        self._pass(passed, 2)
        self._step = Framing._chunk
        return True

    def _trailers(self, passed: bytearray) -> bool:
        end = 2 if self._held.startswith(_END) else self._block()
        if not end:
            return False
        self._check_fields(0, end - 2)
        if _FRAMING_FIELD.search(self._held, 0, end):
            # Whoever takes trailers for headers would read another length (RFC 9110, 6.5.1).
            raise RequestError(RequestCode.MALFORMED_REQUEST, "a trailer that is no trailer")
        self._pass(passed, end)
        self._step = Framing._head
        return True


def _version(line: bytes) -> bytes:
    """Return the version that a request line names: 1.0 or 1.1.

    Raises:
        RequestError: MALFORMED_REQUEST, HTTP_VERSION.
    """
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise RequestError(RequestCode.MALFORMED_REQUEST, "the first line is no request")
    if found[1] not in {b"1.0", b"1.1"}:
        raise RequestError(RequestCode.HTTP_VERSION)
    return found[1]


def _value(fields: bytearray, name: bytes) -> bytearray | None:
    """Return the value of a field that is there once at most, None where it is not there.

    Blanks around it are no part of it, tabs are.

    Args:
        name: as it begins its line.

    Raises:
        RequestError: MALFORMED_REQUEST, it is there twice.
    """
    at = fields.find(name)
    if at < 0:
        return None
    if fields.count(name) > 1:
        raise RequestError(RequestCode.MALFORMED_REQUEST, _ONCE)
    # Tabs stay: RFC 9112 has them too, but llhttp takes one behind a length or a coding for a
    # part of it, which h11 does not. No sender writes one there.
    return fields[at + len(name) : fields.index(b"\r", at)].strip(b" ")


def _is_text(held: bytearray, begin: int, end: int) -> bool:
    """Return whether what lies between has no control characters and no half of a line's end.

    An expression with lookarounds for all of it took 65 µs a header, this takes 8.
    """
    if begin and held[begin - 1] == 0x0D:
        begin -= 1
    line_ends = held.count(_END, begin, end)
    text = held[begin:end]
    open_end = begin < end and held[end - 1] == 0x0D  # its LF may come yet
    return (
        held.count(b"\n", begin, end) == line_ends
        and held.count(b"\r", begin, end) == line_ends + open_end
        and len(text.translate(None, _CONTROLS)) == len(text)
    )
