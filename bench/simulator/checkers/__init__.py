"""Checkers: what must hold of the durable state after every commit of any shard.

They read the rows that a commit has written and keep running sums of their own, from nothing that
the engine says of itself: neither its books nor its states are believed. Each finding bears the
name of the checker that made it:

- `checksum`: every row is sealed with the checksum of its table, key and bytes.
- `journal`: commits and postings are gapless, the hash chain is unbroken, epochs never go back.
- `fail-stop`: nothing is committed after a commit that failed.
- `time`: a shard's clock never goes back, and no hold ends before its time.
- `conservation`: postings, money in messages to itself, and what was sent less what was received
  come out to zero on every shard.
- `delivery`: what one shard has sent and another has not taken lies in the outbox, no more and no
  less; the money on every link is the money in those messages.
- `balances`: every balance is the sum of its postings, each of which follows the one before.
- `holds`: an account's held amount is the sum of the rests of its open holds.
- `held-total`: what a shard says that its accounts hold is the sum of what they hold.
- `limits`: what was used of an agreement's limit and of an account's own is what was paid.
- `overdraft`: no customer's account and no merchant is below zero.
- `refunds`, `captures`: nothing is refunded or captured beyond what it is of.
- `reversals`: a payment is reversed on its own business date only.
- `attempts`: after a crash no message has a turn before the attempt at it is written, or, where
  there are many, at the first of them.
- `parked`: parked messages leave in the order in which they came.
- `queue`: of a merchant's refunds that wait for funds the oldest goes on first.
- `outcomes`: what a number is bound to is never taken away or changed, and an end is an end.
- `marks`: a mark is durable with what its command did, once, and until it is over.
- `events`: every merchant's events are numbered without a gap.
- `dates`: a command has one business date, wherever it posts.
- `closed-dates`: a closed date comes out to zero over all shards, and nothing is posted on it
  again.
"""
