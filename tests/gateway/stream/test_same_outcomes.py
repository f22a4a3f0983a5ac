"""What is sent on a stream comes to what it would come to by POST /v1/commands."""

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.gateway.desk_client import MORNING, SECOND, capture, hold, open_desk, payment
from tests.gateway.stream.test_session import Talk

ROUNDS = 40


def _commands(draw: random.Random) -> list[Any]:
    """Return an array of commands, some of which repeat, refer to each other, or are wrong."""

    def one() -> Any:
        number = f"{draw.randrange(12)}"
        amount = draw.choice([1, 50, 200, 9_000, 0, 10**14])
        return draw.choice(
            [
                payment(f"O{number}", amount),
                payment(f"O{number}", amount, payer="A9"),
                payment(f"O{number}", amount, currency="EUR"),
                payment(f"O{number}", amount, merchant_no="M9"),
                hold(f"H{number}", amount),
                capture(f"H{number}", f"C{draw.randrange(12)}", amount),
                {"command": "void_authorization", "merchant_no": "M1", "hold_no": f"H{number}",
                 "void_no": f"V{number}"},
                {"command": "refund_payment", "merchant_no": "M1", "order_no": f"O{number}",
                 "refund_no": f"R{draw.randrange(12)}", "amount_minor": amount},
                {"command": "reverse_payment", "merchant_no": "M1", "order_no": f"O{number}",
                 "reversal_no": f"X{number}"},
                {"command": "open_account", "account_no": "A2", "currency": "USD"},
                {"command": "create_payment"},
                {"command": "nothing"},
            ]
        )  # fmt: skip

    return [one() for _ in range(draw.randrange(1, 20))]


@pytest.mark.one_shard  # across several, what runs beside what is another matter each time
async def test_errands_come_to_what_an_array_comes_to() -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    draw = random.Random(seed)
    async with open_desk(shards=1) as arrays, open_desk(shards=1) as errands:
        await arrays.shop()
        await errands.shop()
        talk = Talk(errands)
        statuses = set()
        for round_ in range(ROUNDS):
            commands = _commands(draw)
            if draw.random() < 0.3:
                at = MORNING // SECOND + round_ * 7_200
                move = {"command": "advance_clock", "to": f"{_instant(at)}Z"}
                commands.insert(draw.randrange(len(commands)), move)
            expected = await arrays.commands(*commands)
            talk.sent.clear()
            talk.say([{"id": f"{n}", "do": command} for n, command in enumerate(commands)])
            await talk.until_idle()
            found = {each.pop("id"): each for sent in talk.sent for each in sent["answers"]}
            for index, (command, answer) in enumerate(zip(commands, expected, strict=True)):
                # Where an item is wrong the path to it begins at `do`.
                about = found[f"{index}"]
                about["body"].pop("detail", None)
                answer["body"].pop("detail", None)
                assert about == answer, command
                statuses.add(answer["status"])
        assert statuses >= {200, 201, 404, 409, 422}
        events = [
            (await each.get("/v1/merchants/M1/events?limit=100"))[1] for each in (arrays, errands)
        ]
        assert events[0] == events[1]
        assert events[0]["newest"] > 0


def _instant(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat()
