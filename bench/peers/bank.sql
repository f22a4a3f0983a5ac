-- The peer's books: what a careful team would write for the same payment on PostgreSQL.
--
-- A payment row is the idempotency row too: (merchant_no, order_no) with the digest of its content.
-- Every posting has the balance after it and the account's previous posting, as ours have, so no
-- index of postings by account is needed. Rows that are updated all the time have room beside them
-- on their page (fillfactor), so that PostgreSQL updates them without touching an index.

CREATE SEQUENCE posting_ids CACHE 100;

CREATE TABLE accounts (
    account_no          text PRIMARY KEY,
    kind                text NOT NULL DEFAULT 'customer',
    status              text NOT NULL DEFAULT 'OPEN',
    currency            text NOT NULL,
    posted_minor        bigint NOT NULL,
    held_minor          bigint NOT NULL DEFAULT 0,
    frozen_minor        bigint NOT NULL DEFAULT 0,
    posted_last         bigint NOT NULL DEFAULT 0,
    -- RETURNING tells new values only: the posting before the last one.
    posted_before       bigint NOT NULL DEFAULT 0,
    used_date           date NOT NULL DEFAULT '2000-01-01',
    used_minor          bigint NOT NULL DEFAULT 0,
    payment_limit_minor bigint,
    daily_limit_minor   bigint,
    CHECK (kind <> 'customer' OR posted_minor - held_minor - frozen_minor >= 0)
) WITH (fillfactor = 70);

CREATE TABLE agreements (
    account_no          text NOT NULL,
    merchant_no         text NOT NULL,
    status              text NOT NULL DEFAULT 'SIGNED',
    payment_limit_minor bigint,
    daily_limit_minor   bigint,
    used_date           date NOT NULL DEFAULT '2000-01-01',
    used_minor          bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (account_no, merchant_no)
);

CREATE TABLE merchants (
    merchant_no   text PRIMARY KEY,
    status        text NOT NULL DEFAULT 'ACTIVE',
    currency      text NOT NULL,
    fee_bps       integer NOT NULL DEFAULT 0,
    posted_minor  bigint NOT NULL DEFAULT 0 CHECK (posted_minor >= 0),
    posted_last   bigint NOT NULL DEFAULT 0,
    posted_before bigint NOT NULL DEFAULT 0,
    fees_minor    bigint NOT NULL DEFAULT 0 CHECK (fees_minor >= 0),
    fees_last     bigint NOT NULL DEFAULT 0,
    fees_before   bigint NOT NULL DEFAULT 0,
    events        bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 20);

CREATE TABLE payments (
    merchant_no    text NOT NULL,
    order_no       text NOT NULL,
    digest         bytea NOT NULL,
    state          text NOT NULL,
    code           text,
    payer          text NOT NULL,
    amount_minor   bigint NOT NULL,
    currency       text NOT NULL,
    fee_minor      bigint NOT NULL,
    refunded_minor bigint NOT NULL DEFAULT 0,
    business_date  date NOT NULL,
    created_at     timestamptz NOT NULL,
    settled_at     timestamptz NOT NULL,
    PRIMARY KEY (merchant_no, order_no)
);

CREATE TABLE postings (
    posting_id    bigint PRIMARY KEY,
    account       text NOT NULL,
    amount_minor  bigint NOT NULL,
    currency      text NOT NULL,
    balance_minor bigint NOT NULL,
    previous      bigint NOT NULL,
    reference     text NOT NULL,
    business_date date NOT NULL
);

CREATE TABLE events (
    merchant_no   text NOT NULL,
    sequence      bigint NOT NULL,
    kind          text NOT NULL,
    number        text NOT NULL,
    at            timestamptz NOT NULL,
    business_date date NOT NULL,
    amount_minor  bigint NOT NULL,
    fee_minor     bigint NOT NULL DEFAULT 0,
    code          text,
    PRIMARY KEY (merchant_no, sequence)
);

CREATE FUNCTION content(merchant text, number text, payer_no text, amount bigint, unit text)
RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT sha256(convert_to(merchant || E'\n' || number || E'\n' || payer_no || E'\n'
                             || amount::text || E'\n' || unit, 'UTF8'))
$$;

-- Why a payment is declined, in our order of precedence; its payer's row is locked, or was tried.
CREATE FUNCTION declined(merchant text, payer_no text, amount bigint, unit text, day date)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    a accounts;
    g agreements;
BEGIN
    SELECT * INTO a FROM accounts WHERE account_no = payer_no FOR UPDATE;
    IF NOT FOUND THEN RETURN 'ACCOUNT_NOT_FOUND'; END IF;
    IF a.status <> 'OPEN' THEN RETURN 'ACCOUNT_' || a.status; END IF;
    IF a.currency <> unit THEN RETURN 'CURRENCY_MISMATCH'; END IF;
    IF a.kind <> 'customer' THEN RETURN 'ACCOUNT_INTERNAL'; END IF;
    SELECT * INTO g FROM agreements WHERE account_no = payer_no AND merchant_no = merchant;
    IF NOT FOUND THEN RETURN 'AGREEMENT_NOT_FOUND'; END IF;
    IF g.status <> 'SIGNED' THEN RETURN 'AGREEMENT_CANCELLED'; END IF;
    IF amount > g.payment_limit_minor THEN RETURN 'PAYMENT_LIMIT_EXCEEDED'; END IF;
    IF (CASE WHEN g.used_date = day THEN g.used_minor ELSE 0 END) + amount > g.daily_limit_minor
    THEN RETURN 'DAILY_LIMIT_EXCEEDED'; END IF;
    IF amount > a.payment_limit_minor
        OR (CASE WHEN a.used_date = day THEN a.used_minor ELSE 0 END) + amount > a.daily_limit_minor
    THEN RETURN 'METHOD_LIMIT_EXCEEDED'; END IF;
    IF a.posted_minor - a.held_minor - a.frozen_minor < amount
    THEN RETURN 'INSUFFICIENT_FUNDS'; END IF;
    RETURN NULL;
END $$;

-- One payment, in as few statements as it can be had: the row that nearly always succeeds is
-- written once, the payer is checked and debited by one UPDATE, and the merchant's row, which
-- others wait for, is taken last.
CREATE FUNCTION pay(
    merchant text, number text, payer_no text, amount bigint, unit text,
    OUT answer text, OUT why text, OUT fee bigint, OUT day date, OUT at timestamptz
) LANGUAGE plpgsql AS $$
DECLARE
    m record;
    g record;
    a record;
    first record;
    reference text;
    debit_id bigint;
    credit_id bigint;
    fee_id bigint;
    takes_id bigint;
BEGIN
    answer := 'refused';
    SELECT status, currency, fee_bps INTO m FROM merchants WHERE merchant_no = merchant;
    IF NOT FOUND THEN
        why := 'MERCHANT_NOT_FOUND';
        RETURN;
    END IF;
    day := current_date;
    at := clock_timestamp();
    fee := (amount * m.fee_bps + 5000) / 10000;
    IF m.status = 'ACTIVE' THEN
        INSERT INTO payments VALUES (
            merchant, number, content(merchant, number, payer_no, amount, unit), 'SUCCEEDED',
            NULL, payer_no, amount, unit, fee, 0, day, at, at
        ) ON CONFLICT DO NOTHING;
    END IF;
    IF m.status <> 'ACTIVE' OR NOT FOUND THEN
        SELECT * INTO first FROM payments WHERE merchant_no = merchant AND order_no = number;
        IF NOT FOUND THEN
            why := 'MERCHANT_' || m.status;
        ELSIF first.digest <> content(merchant, number, payer_no, amount, unit) THEN
            why := 'NUMBER_USED';
        ELSE
            answer := 'replayed';
            why := first.code;
            fee := first.fee_minor;
            day := first.business_date;
            at := first.settled_at;
        END IF;
        RETURN;
    END IF;
    IF m.currency <> unit THEN
        why := 'CURRENCY_MISMATCH';
    ELSE
        SELECT status, payment_limit_minor, daily_limit_minor INTO g
        FROM agreements WHERE account_no = payer_no AND merchant_no = merchant;
        IF NOT FOUND OR g.status <> 'SIGNED' OR amount > g.payment_limit_minor THEN
            why := declined(merchant, payer_no, amount, unit, day);
        ELSIF g.daily_limit_minor IS NOT NULL THEN
            -- The day's use is the payer's to guard: its row is locked before it is read.
            why := declined(merchant, payer_no, amount, unit, day);
            IF why IS NULL THEN
                UPDATE agreements SET
                    used_minor = CASE WHEN used_date = day THEN used_minor ELSE 0 END + amount,
                    used_date = day
                WHERE account_no = payer_no AND merchant_no = merchant;
            END IF;
        END IF;
    END IF;
    IF why IS NULL THEN
        debit_id := nextval('posting_ids');
        UPDATE accounts SET
            posted_minor = posted_minor - amount,
            posted_before = posted_last,
            posted_last = debit_id,
            used_minor = CASE WHEN used_date = day THEN used_minor ELSE 0 END + amount,
            used_date = day
        WHERE account_no = payer_no AND status = 'OPEN' AND currency = unit
            AND kind = 'customer' AND posted_minor - held_minor - frozen_minor >= amount
            AND (payment_limit_minor IS NULL OR amount <= payment_limit_minor)
            AND (daily_limit_minor IS NULL OR amount <= daily_limit_minor
                - CASE WHEN used_date = day THEN used_minor ELSE 0 END)
        RETURNING posted_minor, posted_before INTO a;
        IF NOT FOUND THEN
            why := declined(merchant, payer_no, amount, unit, day);
            IF why IS NULL THEN
                -- It would do now, a moment later: the whole transaction is tried again.
                RAISE serialization_failure USING MESSAGE = 'the account has just changed';
            END IF;
        END IF;
    END IF;
    IF why IS NOT NULL THEN
        UPDATE payments SET state = 'FAILED', code = why, fee_minor = 0
        WHERE merchant_no = merchant AND order_no = number;
        UPDATE merchants SET events = events + 1 WHERE merchant_no = merchant
        RETURNING events INTO m;
        INSERT INTO events VALUES (
            merchant, m.events, 'payment.failed', number, at, day, amount, 0, why
        );
        fee := 0;
        RETURN;
    END IF;
    credit_id := nextval('posting_ids');
    IF fee > 0 THEN
        fee_id := nextval('posting_ids');
        takes_id := nextval('posting_ids');
        UPDATE merchants SET
            posted_minor = posted_minor + amount - fee,
            posted_before = posted_last,
            posted_last = fee_id,
            fees_minor = fees_minor + fee,
            fees_before = fees_last,
            fees_last = takes_id,
            events = events + 1
        WHERE merchant_no = merchant AND status = 'ACTIVE'
        RETURNING posted_minor, posted_before, fees_minor, fees_before, events INTO m;
    ELSE
        UPDATE merchants SET
            posted_minor = posted_minor + amount,
            posted_before = posted_last,
            posted_last = credit_id,
            events = events + 1
        WHERE merchant_no = merchant AND status = 'ACTIVE'
        RETURNING posted_minor, posted_before, events INTO m;
    END IF;
    IF NOT FOUND THEN
        RAISE serialization_failure USING MESSAGE = 'the merchant has just changed';
    END IF;
    reference := 'payment/' || merchant || '/' || number;
    INSERT INTO postings VALUES
        (debit_id, payer_no, -amount, unit, a.posted_minor, a.posted_before, reference, day),
        (credit_id, merchant || '/receivable', amount, unit, m.posted_minor + fee,
            m.posted_before, reference, day);
    IF fee > 0 THEN
        INSERT INTO postings VALUES
            (fee_id, merchant || '/receivable', -fee, unit, m.posted_minor, credit_id,
                reference, day),
            (takes_id, merchant || '/fees', fee, unit, m.fees_minor, m.fees_before,
                reference, day);
    END IF;
    INSERT INTO events VALUES (
        merchant, m.events, 'payment.succeeded', number, at, day, amount, fee, NULL
    );
    answer := 'paid';
END $$;

-- Many payments in one commit, as sets. What is not plain (a number that is taken, a limit, a payer
-- whose balance does not cover all of its payments) goes through pay(), one by one, afterwards.
CREATE FUNCTION pay_many(
    merchants_ text[], numbers text[], payers text[], amounts bigint[], units text[],
    OUT paid bigint, OUT others text[]
) LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    today date := current_date;
    now_at timestamptz := clock_timestamp();
    done bigint[];
    undone bigint[];
    nth_ bigint;
    one record;
    whole boolean;
BEGIN
    -- Sets lock their payers in no order: two of them would wait for each other.
    PERFORM pg_advisory_xact_lock(20260101);
    -- Left joins and CASE keep the planner's idea of how many rows there are: where it thinks of
    -- one, it compares each of a thousand with each.
    WITH asked AS MATERIALIZED (
        SELECT each.*, (each.amount_minor * m.fee_bps + 5000) / 10000 AS fee_minor,
            (m.status = 'ACTIVE' AND m.currency = each.currency AND g.status = 'SIGNED'
                AND g.daily_limit_minor IS NULL
                AND each.amount_minor <= coalesce(g.payment_limit_minor, each.amount_minor)
                AND p.order_no IS NULL
                -- A number that comes twice in one array is bound by its first row.
                AND row_number() OVER (PARTITION BY each.merchant_no, each.order_no ORDER BY n) = 1
            ) IS TRUE AS plain
        FROM unnest(merchants_, numbers, payers, amounts, units)
            WITH ORDINALITY AS each (merchant_no, order_no, payer, amount_minor, currency, n)
        LEFT JOIN merchants m ON m.merchant_no = each.merchant_no
        LEFT JOIN agreements g ON g.account_no = each.payer AND g.merchant_no = each.merchant_no
        LEFT JOIN payments p ON p.merchant_no = each.merchant_no AND p.order_no = each.order_no
    ), numbered AS MATERIALIZED (
        SELECT firsts.*, nextval('posting_ids') AS debit_id, nextval('posting_ids') AS credit_id,
            CASE WHEN fee_minor > 0 THEN nextval('posting_ids') END AS fee_id,
            CASE WHEN fee_minor > 0 THEN nextval('posting_ids') END AS takes_id
        FROM (SELECT * FROM asked WHERE plain ORDER BY n) AS firsts
    ), bound AS (
        INSERT INTO payments
        SELECT merchant_no, order_no, content(merchant_no, order_no, payer, amount_minor, currency),
            'SUCCEEDED', NULL, payer, amount_minor, currency, fee_minor, 0, today, now_at, now_at
        FROM numbered
        RETURNING 1
    ), debited AS (
        UPDATE accounts a SET
            posted_minor = a.posted_minor - s.total,
            posted_before = a.posted_last,
            posted_last = s.last_id,
            used_minor = CASE WHEN a.used_date = today THEN a.used_minor ELSE 0 END + s.total,
            used_date = today
        FROM (
            SELECT payer, currency, sum(amount_minor)::bigint AS total, max(debit_id) AS last_id
            FROM numbered GROUP BY payer, currency
        ) AS s
        WHERE a.account_no = s.payer AND CASE WHEN a.status = 'OPEN' AND a.currency = s.currency
            AND a.kind = 'customer' AND a.payment_limit_minor IS NULL
            AND a.daily_limit_minor IS NULL
            AND a.posted_minor - a.held_minor - a.frozen_minor >= s.total THEN true ELSE false END
        RETURNING a.account_no, a.currency, a.posted_minor, a.posted_before, s.total
    ), moved AS MATERIALIZED (
        SELECT numbered.*, d.posted_minor + d.total
                - sum(amount_minor) OVER payer_so_far AS payer_balance,
            coalesce(lag(debit_id) OVER payer_so_far, d.posted_before) AS payer_previous,
            sum(amount_minor - fee_minor) OVER merchant_so_far AS so_far,
            sum(fee_minor) OVER merchant_so_far AS fees_so_far,
            lag(coalesce(fee_id, credit_id)) OVER merchant_so_far AS previous,
            max(takes_id) OVER (
                merchant_so_far ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS fees_previous,
            row_number() OVER merchant_so_far AS nth
        FROM numbered JOIN debited d ON d.account_no = payer
            AND CASE WHEN d.currency = numbered.currency THEN true ELSE false END
        WINDOW payer_so_far AS (PARTITION BY payer ORDER BY debit_id),
            merchant_so_far AS (PARTITION BY merchant_no ORDER BY debit_id)
    ), credited AS (
        UPDATE merchants m SET
            posted_minor = m.posted_minor + s.total - s.fees,
            posted_before = m.posted_last,
            posted_last = s.last_id,
            fees_minor = m.fees_minor + s.fees,
            fees_before = m.fees_last,
            fees_last = coalesce(s.takes_id, m.fees_last),
            events = m.events + s.many
        FROM (
            SELECT merchant_no, sum(amount_minor)::bigint AS total, sum(fee_minor)::bigint AS fees,
                max(coalesce(fee_id, credit_id)) AS last_id, max(takes_id) AS takes_id,
                count(*) AS many
            FROM moved GROUP BY merchant_no
        ) AS s
        WHERE m.merchant_no = s.merchant_no AND m.status = 'ACTIVE'
        RETURNING m.merchant_no, m.posted_minor - s.total + s.fees AS before_minor,
            m.posted_before, m.fees_minor - s.fees AS fees_before_minor, m.fees_before,
            m.events - s.many AS events_before
    ), posted AS (
        INSERT INTO postings
        SELECT p.* FROM moved JOIN credited c USING (merchant_no), LATERAL (VALUES
            (debit_id, payer, -amount_minor, payer_balance, payer_previous),
            (credit_id, merchant_no || '/receivable', amount_minor,
                before_minor + so_far + fee_minor, coalesce(previous, c.posted_before)),
            (fee_id, merchant_no || '/receivable', -fee_minor, before_minor + so_far, credit_id),
            (takes_id, merchant_no || '/fees', fee_minor, fees_before_minor + fees_so_far,
                coalesce(fees_previous, c.fees_before))
        ) AS v (posting_id, account, amount_minor, balance_minor, previous), LATERAL (SELECT
            v.posting_id, v.account, v.amount_minor, moved.currency, v.balance_minor, v.previous,
            'payment/' || merchant_no || '/' || order_no, today
        ) AS p
        WHERE v.posting_id IS NOT NULL
        ORDER BY v.posting_id
    ), told AS (
        INSERT INTO events
        SELECT merchant_no, events_before + nth, 'payment.succeeded', order_no, now_at, today,
            amount_minor, fee_minor, NULL
        FROM moved JOIN credited USING (merchant_no)
    )
    SELECT (SELECT array_agg(moved.n) FROM moved),
        (SELECT array_agg(numbered.n) FROM numbered
            WHERE numbered.n NOT IN (SELECT moved.n FROM moved)),
        (SELECT count(DISTINCT merchant_no) FROM moved) = (SELECT count(*) FROM credited)
    INTO done, undone, whole;
    IF NOT whole THEN
        RAISE serialization_failure USING MESSAGE = 'a merchant has just changed';
    END IF;
    paid := coalesce(cardinality(done), 0);
    IF undone IS NOT NULL THEN
        DELETE FROM payments p USING unnest(undone) AS u (n)
        WHERE p.merchant_no = merchants_[u.n] AND p.order_no = numbers[u.n];
    END IF;
    others := '{}';
    IF paid < cardinality(numbers) THEN
        FOR nth_ IN
            SELECT g FROM generate_series(1, cardinality(numbers)) AS g
            WHERE g <> ALL (coalesce(done, '{}')) ORDER BY g
        LOOP
            SELECT * INTO one FROM pay(
                merchants_[nth_], numbers[nth_], payers[nth_], amounts[nth_], units[nth_]
            );
            IF one.answer = 'paid' THEN paid := paid + 1; END IF;
            others := others || (numbers[nth_] || ' ' || one.answer || coalesce(' ' || one.why, ''));
        END LOOP;
    END IF;
END $$;

-- Accounts with their money and one agreement each, as our own store is filled.
CREATE FUNCTION fill(accounts_ bigint, merchants_ bigint, opening bigint, unit text)
RETURNS void LANGUAGE sql AS $$
    INSERT INTO merchants (merchant_no, currency)
    SELECT 'M' || lpad(n::text, 5, '0'), unit FROM generate_series(0, merchants_ - 1) AS n;
    INSERT INTO accounts (account_no, currency, posted_minor, posted_last)
    SELECT '6217' || lpad(n::text, 12, '0'), unit, opening, 2 * n + 2
    FROM generate_series(0, accounts_ - 1) AS n;
    INSERT INTO accounts (account_no, kind, currency, posted_minor, posted_last)
    VALUES ('clearing-' || unit, 'clearing', unit, -opening * accounts_, 2 * accounts_ - 1);
    INSERT INTO agreements (account_no, merchant_no)
    SELECT '6217' || lpad(n::text, 12, '0'), 'M' || lpad((n % merchants_)::text, 5, '0')
    FROM generate_series(0, accounts_ - 1) AS n;
    INSERT INTO postings
    SELECT 2 * n + 1, 'clearing-' || unit, -opening, unit, -opening * (n + 1),
        greatest(2 * n - 1, 0), 'funding/6217' || lpad(n::text, 12, '0') || '/opening',
        current_date
    FROM generate_series(0, accounts_ - 1) AS n;
    INSERT INTO postings
    SELECT 2 * n + 2, '6217' || lpad(n::text, 12, '0'), opening, unit, opening, 0,
        'funding/6217' || lpad(n::text, 12, '0') || '/opening', current_date
    FROM generate_series(0, accounts_ - 1) AS n;
    SELECT setval('posting_ids', 2 * accounts_ + 1);
$$;
