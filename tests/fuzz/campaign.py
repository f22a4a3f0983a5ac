"""A campaign: targets driven by atheris for some time each, along the coverage of our code.

Run by `./just fuzz`, which brings atheris. Inputs that lead somewhere new are kept in
`build/fuzz/TARGET/corpus`, where the next campaign begins; what fails is printed, and kept in
`build/fuzz/TARGET/`. An input that takes 10 s or 1 GiB fails too.
"""

import hashlib
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

BUILD: Final = Path(__file__).parents[2] / "build" / "fuzz"
INSTRUMENTED: Final = ["gateway", "bench", "actors", "engine", "h11", "wsproto", "json", "csv"]


def run(name: str, seconds: int) -> None:
    """Drive a target until it fails or the time is over; it ends the process."""
    atheris: Any = importlib.import_module("atheris")
    atheris.enabled_hooks.add("str")  # not RegEx: its hook fails on expressions of bytes
    with atheris.instrument_imports(include=INSTRUMENTED):
        target = importlib.import_module("tests.fuzz.targets").TARGETS[name]
    folder = BUILD / name
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (corpus / hashlib.sha256(seed).hexdigest()[:40]).write_bytes(seed)
    words = folder / "tokens"
    escaped = ("".join(f"\\x{byte:02x}" for byte in token) for token in target.tokens or (b"\0",))
    words.write_text("".join(f'"{each}"\n' for each in escaped if len(each) < 256), "ascii")
    options = [
        f"-max_total_time={seconds}",
        "-timeout=10",
        "-rss_limit_mb=1024",
        "-max_len=8192",
        "-verbosity=0",
        "-print_final_stats=1",
        f"-dict={words}",
        f"-artifact_prefix={folder}/",
    ]
    atheris.Setup([name, *options, str(corpus)], target.run)
    atheris.Fuzz()


def run_all(seconds: int) -> int:
    """Drive all targets in turn, each in a process of its own; returns how many failed."""
    failed = 0
    for name in importlib.import_module("tests.fuzz.targets").TARGETS:
        print(f"--- {name}", flush=True)
        command = [sys.executable, "-m", "tests.fuzz.campaign", name, str(seconds)]
        failed += subprocess.run(command, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    if sys.argv[1] == "all":
        sys.exit(run_all(int(sys.argv[2])) != 0)
    run(sys.argv[1], int(sys.argv[2]))
