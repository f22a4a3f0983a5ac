"""`piaohao` in a process whose fsync fails from SIGUSR1 on, with EIO, as on a dying disk.

The kernel itself does it: a seccomp filter for all threads answers fsync and fdatasync with an
error instead of running them. So nothing of ours or of LMDB's is replaced, and no compiler is
needed.

    python tests/e2e/failing_sync.py serve --data DIR
"""

import ctypes
import errno
import platform
import signal
import struct

from gateway.cli import main

# Numbers of seccomp, fsync and fdatasync (Linux's unistd.h), and the audit name of the machine.
_CALLS = {
    "x86_64": (317, 74, 75, 0xC000003E),
    "aarch64": (277, 82, 83, 0xC00000B7),
}
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_FILTER_FLAG_TSYNC = 1
_RET_ALLOW = 0x7FFF0000
_RET_ERRNO = 0x00050000
_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K


def fail_syncs() -> None:
    """Let every fsync and fdatasync of this process fail from now on."""
    seccomp, fsync, fdatasync, machine = _CALLS[platform.machine()]
    # struct seccomp_data begins with the call's number, then the machine.
    program = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (_LOAD, 0, 0, 4),
            (_JUMP_IF_EQUAL, 0, 4, machine),
            (_LOAD, 0, 0, 0),
            (_JUMP_IF_EQUAL, 1, 0, fsync),
            (_JUMP_IF_EQUAL, 0, 1, fdatasync),
            (_RETURN, 0, 0, _RET_ERRNO | errno.EIO),
            (_RETURN, 0, 0, _RET_ALLOW),
        )
    )
    held = ctypes.create_string_buffer(program, len(program))
    filter_ = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(held))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    if libc.syscall(seccomp, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC, filter_):
        raise OSError(ctypes.get_errno(), "seccomp")


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, lambda *_: fail_syncs())
    main()
