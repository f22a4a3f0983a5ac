"""All targets, by their names: what `./just fuzz` and the suite find."""

from typing import Final

from tests.fuzz.certificate_targets import CSR, TRUST
from tests.fuzz.http_targets import ADDRESS, EXPRESS, FRAMING
from tests.fuzz.json_targets import BODY, COMMANDS, JSON
from tests.fuzz.replay_targets import FILE, ROW
from tests.fuzz.request_targets import REQUEST
from tests.fuzz.signature_targets import ANSWERED, FIELDS, SIGNED, SPKI
from tests.fuzz.stream_targets import FRAMES, MESSAGE
from tests.fuzz.target import Target

TARGETS: Final[dict[str, Target]] = {
    each.name: each
    for each in (
        *(FRAMING, EXPRESS, ADDRESS, JSON, BODY, COMMANDS, FIELDS, SIGNED, ANSWERED, SPKI),
        *(CSR, TRUST, ROW, FILE, FRAMES, MESSAGE, REQUEST),
    )
}
