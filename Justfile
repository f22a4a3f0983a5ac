# Run by ./just, which brings uv and just into .tools/. Every recipe starts in this folder,
# but for [no-cd] ones: there a path in the arguments means what it means to the caller.

set positional-arguments

root := justfile_directory()
bin := root / ".venv/bin"
side_by_side := "--numprocesses auto --dist worksteal"

# A Python that may not keep its bytecode compiles 800 modules at each start of piaohao, which then takes
# 2.7 s of CPU instead of 0.6: containers often forbid it, and the tests start hundreds of processes.
export PYTHONDONTWRITEBYTECODE := ""

# One lock for every platform and every Python from 3.11 on, with nothing in it but names,
# versions, markers and hashes.
compile := ".tools/bin/uv pip compile --quiet --universal --python-version 3.11 --no-build" \
    + " --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header"

[private]
default:
    @{{ quote(just_executable()) }} --justfile {{ quote(justfile()) }} --list

# Make .venv/ with everything in it, from requirements.lock; .venv/bin/piaohao is ready then.
[script("sh", "-eu")]
setup:
    # The stamp holds all that the environment depends on, its own place too: scripts carry it.
    wanted() { pwd; cat requirements.lock pyproject.toml; }
    if [ -x .venv/bin/python ] && wanted | cmp -s - .venv/stamp; then exit 0; fi
    uv=.tools/bin/uv
    # Start anew when the folder has moved, its Python is gone, or an earlier setup broke off.
    if ! [ -x .venv/bin/python ] || [ "$(head -n 1 .venv/stamp 2>/dev/null)" != "$(pwd)" ]; then
        $uv venv --quiet --clear --no-project --python "$(command -v python3)" .venv
    fi
    rm -f .venv/stamp
    export VIRTUAL_ENV="$(pwd)/.venv"
    # Wheels only (--no-build): no compiler is needed, and none of their code runs at setup.
    $uv pip sync --quiet --no-build --require-hashes requirements.lock
    $uv pip install --quiet --no-deps --no-build-isolation --editable .
    wanted >.venv/stamp

# Replay a year of real shopping (--exit, --limit N, --data DIR: see `piaohao demo --help`).
[no-cd]
demo *ARGS: setup
    @{{ quote(bin / "piaohao") }} demo "$@"

# Replay a file of payments (--exit, --data DIR, --refusals FILE: see docs/REPLAY.md).
[no-cd]
replay FILE *ARGS: setup
    @{{ quote(bin / "piaohao") }} replay "$@"

# All gates, then all tests but the long ones, one process a core: with one shard, and again with
# three what can have several. Arguments go to pytest; then one run is made, with one shard.
test *ARGS: setup check
    {{ quote(bin / "pytest") }} {{ if ARGS == "" { side_by_side } else { "" } }} "$@"
    [ $# -gt 0 ] || {{ quote(just_executable()) }} --justfile {{ quote(justfile()) }} test-shards

# The tests of whatever can have several shards, with three.
test-shards *ARGS: setup
    PIAOHAO_TEST_SHARDS=3 {{ quote(bin / "pytest") }} {{ side_by_side }} tests/e2e tests/gateway "$@"

# The gates: lint, format, types, arrows between packages.
check: setup
    .venv/bin/ruff check
    .venv/bin/ruff format --check
    .venv/bin/mypy
    .venv/bin/lint-imports --no-logo

# Write docs/STATES.md anew from the table of state machines (actors/states.py).
states: setup
    .venv/bin/python -c "from actors.state_page import state_page; print(state_page(), end='')" > docs/STATES.md

# Write docs/ERRORS.md anew from the table of codes (gateway/errors.py).
errors: setup
    .venv/bin/python -c "from gateway.error_page import error_page; print(error_page(), end='')" > docs/ERRORS.md

# Format the code and mend what ruff can mend.
fmt: setup
    .venv/bin/ruff check --fix
    .venv/bin/ruff format

# Write all lock files anew; `./just lock --upgrade` takes newer versions. No address gets in.
lock *ARGS:
    {{ compile }} --group tools --output-file tools.lock "$@"
    {{ compile }} --group fuzz --output-file fuzz.lock "$@"
    {{ compile }} --extra demo --extra peers --group dev --output-file requirements.lock pyproject.toml "$@"

# --- longer recipes: each says how long it takes, and ./just test never runs it ---------------

# All that ./just test runs, with the full numbers of examples, outcomes and baskets (15 minutes).
thorough *ARGS: setup
    PIAOHAO_TEST_EFFORT=full {{ quote(bin / "pytest") }} {{ side_by_side }} "$@"
    [ $# -gt 0 ] || PIAOHAO_TEST_EFFORT=full {{ quote(just_executable()) }} --justfile {{ quote(justfile()) }} test-shards

# The engine beside its floor, all three mixes (about 3 minutes; run nothing else meanwhile).
bench-engine: setup
    .venv/bin/piaohao bench engine --mix uniform --seconds 30
    .venv/bin/piaohao bench engine --mix zipf --seconds 30
    .venv/bin/piaohao bench engine --mix hot --seconds 30
    .venv/bin/piaohao bench engine --mix uniform --seconds 20 --never-idle
    .venv/bin/piaohao bench engine --mix uniform --seconds 10 --in-flight 1

# The engine on a store of 10,000,000 accounts and as many payments (15 minutes, 12 GB of disk).
bench-aged DATA="aged": setup
    [ -d {{ quote(DATA) }} ] || .venv/bin/piaohao bench fill --data {{ quote(DATA) }} --accounts 10000000 --paid
    .venv/bin/piaohao bench engine --data {{ quote(DATA) }} --accounts 10000000 --seconds 30

# What a payment costs as a store grows: 10,000 to 10,000,000 accounts, none or as many payments
# before it with one merchant, one and three shards (1 hour, 10 GB of disk; run nothing else).
[script("sh", "-eu")]
bench-growth DATA="growth": setup
    measured() { # accounts, merchants, mix, shards, and --paid or nothing
        rm -rf {{ quote(DATA) }}
        .venv/bin/piaohao bench fill --data {{ quote(DATA) }} --accounts "$1" --merchants "$2" \
            --shards "$4" ${5:-} 2>/dev/null
        echo "$3, $1 accounts, $2 merchants, $4 shards ${5:-}"
        .venv/bin/piaohao bench engine --data {{ quote(DATA) }} --accounts "$1" --merchants "$2" \
            --mix "$3" --seconds 20 --skip-verify --json 2>/dev/null
        rm -rf {{ quote(DATA) }}
    }
    for shards in 1 3; do
        for accounts in 10000 1000000 10000000; do
            measured $accounts 1000 uniform $shards
        done
        measured 10000000 1 hot $shards
        measured 10000000 1 hot $shards --paid
    done

# PostgreSQL, where it is missing (Debian; takes root): the peer that we are compared with.
postgresql:
    ls /usr/lib/postgresql/*/bin/pg_ctl 2>/dev/null || command -v pg_ctl \
        || apt-get install --yes --no-install-recommends postgresql

# Ours beside PostgreSQL, the same payments in turn on the same disk: --quick in 5 minutes, in full
# in close to two hours and with 13 GB of disk; run nothing else meanwhile.
bench-compare *ARGS: setup
    {{ quote(bin / "piaohao") }} bench compare postgres "$@"

# Simulations of fresh seeds, until one fails or the time is over.
simulate MINUTES="10": setup
    {{ quote(bin / "piaohao") }} simulate --minutes {{ quote(MINUTES) }}

# A table of every deliberate bug, and after how many steps which checker finds it (5 minutes).
mutants: setup
    @{{ quote(bin / "python") }} -m bench.simulator.proof

# Every workload on every target that takes it, by `piaohao bench run`, into a folder of results.
bench-workloads SECONDS="30" INTO="runs": setup
    mkdir -p {{ quote(INTO) }}
    for run in payments lifecycle smallbank tpcb burst overload \
            "payments --payees one" "payments --payers zipf --payees zipf" \
            "payments --target express" "lifecycle --target express" "burst --target express" \
            "overload --target express" "payments --target hypercorn" "lifecycle --target hypercorn" \
            "payments --target websocket --batch 500 --connections 4" "overload --target websocket"; do \
        .venv/bin/piaohao bench run $run --seconds {{ SECONDS }} \
            --out {{ quote(INTO) }}/"$(echo "$run" | tr -d '-' | tr -s ' ' '-')".json || exit; \
    done

# Signed payments over sockets, beside the engine in-process: one by one on both listeners, in batches
# of 500 in arrays and over a stream (4 minutes; run nothing else).
bench-gateway: setup
    {{ quote(bin / "piaohao") }} bench gateway --transport express,hypercorn --seconds 30 --rounds 15
    {{ quote(bin / "piaohao") }} bench gateway --transport express,websocket --batch 500 --connections 4 --seconds 30 --rounds 15

# A hot merchant's callers while an operator has the console open, and while nobody looks: in arrays, one
# by one, and with four pages open (8 minutes; run nothing else).
bench-look: setup
    {{ quote(bin / "piaohao") }} bench look --pairs 16
    {{ quote(bin / "piaohao") }} bench look --pairs 24 --batch 1
    {{ quote(bin / "piaohao") }} bench look --pairs 16 --pages actor,overview,actors,shards

# Three and ten times as many callers as the node can serve: arrays of 100, then single payments, all
# signed (8 minutes; run nothing else).
overload TRANSPORT="express": setup
    {{ quote(bin / "piaohao") }} bench overload --transport {{ quote(TRANSPORT) }} --times 3 --batch 100
    {{ quote(bin / "piaohao") }} bench overload --transport {{ quote(TRANSPORT) }} --times 3 --batch 1
    {{ quote(bin / "piaohao") }} bench overload --transport {{ quote(TRANSPORT) }} --times 10 --batch 100
    {{ quote(bin / "piaohao") }} bench overload --transport {{ quote(TRANSPORT) }} --times 10 --batch 1

# Schemathesis against a node, with all its checks; PIAOHAO_SEED makes other requests (2 minutes).
api-check EXAMPLES="30": setup
    PIAOHAO_EXAMPLES={{ quote(EXAMPLES) }} {{ quote(bin / "pytest") }} -s -m long tests/e2e/test_schemathesis.py

# Fuzz a target, or all of them in turn, along the coverage of our code: tests/fuzz/ (SECONDS each;
# atheris, which has wheels for Linux only).
fuzz TARGET="all" SECONDS="60": setup
    .tools/bin/uv pip install --quiet --no-build --require-hashes --python .venv/bin/python --target .tools/fuzz -r fuzz.lock
    PYTHONPATH=.:.tools/fuzz .venv/bin/python -m tests.fuzz.campaign {{ quote(TARGET) }} {{ quote(SECONDS) }}

# Honest clients of a node under attack, on both listeners: p99 without and with each attack, and
# the node's memory (15 minutes; run nothing else).
hostile: setup
    {{ quote(bin / "pytest") }} -q -m long tests/hostile

# A file of 150,000 rows, and how many a second (1 minute; run nothing else).
replay-large: setup
    {{ quote(bin / "pytest") }} -s -m long tests/e2e/test_replay.py -k large_file

# A year of shopping and what follows on it, killed five times on the way, with one shard and with
# three (15 minutes).
replay-long: setup
    {{ quote(bin / "pytest") }} -m long tests/e2e/test_replay.py -k year
    PIAOHAO_TEST_SHARDS=3 {{ quote(bin / "pytest") }} -m long tests/e2e/test_replay.py -k year

# Pictures of the console's main pages, into docs/ops/screenshots (2 minutes; Chromium, and a font with
# Chinese in it: fonts-wqy-microhei).
screenshots: setup
    {{ quote(bin / "python") }} -m tests.console.screenshots

# Thousands of damages to a store's files and rows, each found or shown to change nothing (10 minutes).
corruption CASES="4000": setup
    PIAOHAO_CORRUPTIONS={{ quote(CASES) }} {{ quote(bin / "pytest") }} -s tests/faults/test_corruption.py

# Thirty backups under load, with one shard and with three, each restored and worked on (10 minutes).
backups ROUNDS="30": setup
    PIAOHAO_BACKUPS={{ quote(ROUNDS) }} {{ quote(bin / "pytest") }} -s tests/faults/test_backups.py

# Memory over an hour of full load (1 hour).
soak SECONDS="3600": setup
    .venv/bin/piaohao bench soak --seconds {{ SECONDS }}

# kill -9 under the whole domain's load, 200 times with one shard and 200 with three (15 minutes).
kills: setup
    {{ quote(bin / "pytest") }} -s -m long tests/crash/test_kill.py

# A listener to events killed 100 times, and the node 6 times, under trade over a stream (2 minutes).
stream-kills KILLS="100": setup
    PIAOHAO_STREAM_KILLS={{ quote(KILLS) }} {{ quote(bin / "pytest") }} -s tests/e2e/test_stream.py

# A million commands sent again and again across 50 kills, half of it with three shards (15 minutes).
retries: setup
    {{ quote(bin / "pytest") }} -s -m long tests/crash/test_retries.py

# How soon a node with 1,000,000 accounts answers again that was killed at full load, with one and
# with three shards (5 minutes; run nothing else meanwhile).
recovery: setup
    {{ quote(bin / "pytest") }} -s -m long tests/crash/test_recovery.py

# 1,000 stores as a power cut may leave them, whole and torn, of one and of three shards, and 200 after
# a sync that failed (8 minutes).
power-loss: setup
    {{ quote(bin / "pytest") }} -m long tests/crash/test_power_loss.py

# An ext4 shut down under load 40 times, then with LMDB not synced; takes root (6 minutes).
shutdown: setup
    {{ quote(bin / "pytest") }} -m long tests/crash/test_shutdown.py

# Every call of a commit fails, 120 times, on one shard and on three; a slow disk, a read-only one
# (13 minutes).
disk-errors: setup
    {{ quote(bin / "pytest") }} -m long tests/faults/test_errors.py tests/faults/test_slow_disk.py tests/faults/test_read_only.py

# The tests that take too long for every change: the whole year, 10,000 examples of the model
# test (15 minutes). The crash lab's have recipes of their own.
test-long *ARGS: setup
    {{ quote(bin / "pytest") }} -m long --ignore tests/crash "$@"
