"""The system call filter of a sandbox, and of a container beside its engine's own: a classic BPF program (seccomp(2)).

It is made without libseccomp.

Containers have it beside their engine's own. It closes the channels that namespaces leave open: AF_VSOCK, the session
keyring, TIOCSTI, io_uring, userfaultfd, nested namespaces, and the parts of the kernel that a build or a test never
needs. ptrace stays allowed, for gdb and strace.
"""

from __future__ import annotations

import errno
import platform
import struct
from dataclasses import dataclass

_LD_ABS = 0x20
_JMP_JEQ, _JMP_JGE, _JMP_JSET, _RET = 0x15, 0x35, 0x45, 0x06
_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_ERRNO = 0x00050000

_NR, _ARCH, _ARG0, _ARG1 = 0, 4, 16, 24
_NAMESPACE_FLAGS = 0x7E020080
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET and NEWTIME."""
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_FAMILIES = (1, 2, 10, 16)
"""AF_UNIX, AF_INET, AF_INET6, AF_NETLINK."""


@dataclass(frozen=True, slots=True)
class _Architecture:
    audit: int
    denied: tuple[int, ...]
    clone: int
    clone3: int
    unshare: int
    ioctl: int
    socket: int
    socketpair: int
    x32: bool


_DENIED_X86_64 = (
    155, 165, 166, 428, 429, 430, 431, 432, 433, 442, 467,  # pivot_root, mount and its modern family
    248, 249, 250,  # add_key request_key keyctl
    321, 298, 323,  # bpf perf_event_open userfaultfd
    425, 426, 427,  # io_uring
    308, 303, 304,  # setns name_to_handle_at open_by_handle_at
    246, 320, 175, 313, 176, 169, 167, 168, 163, 179,  # kexec modules reboot swap acct quotactl
    443, 172, 173, 134, 136, 139, 156, 174, 177, 178, 180, 153,  # quotactl_fd ioperm iopl and the obsolete
    237, 238, 239, 256, 279, 300,  # NUMA policy, fanotify
    103, 161, 164, 227, 305, 159, 170, 171, 212,  # syslog chroot clock setting hostname lookup_dcookie
)  # fmt: skip
_DENIED_AARCH64 = (
    41, 39, 40, 428, 429, 430, 431, 432, 433, 442, 467,
    217, 218, 219,
    280, 241, 282,
    425, 426, 427,
    268, 264, 265,
    104, 294, 105, 273, 106, 142, 224, 225, 89, 60,
    443, 58,
    235, 236, 237, 238, 239, 262,
    116, 51, 170, 112, 266, 171, 161, 162, 18,
)  # fmt: skip

_ARCHITECTURES = {
    "x86_64": _Architecture(0xC000003E, _DENIED_X86_64, 56, 435, 272, 16, 41, 53, x32=True),
    "aarch64": _Architecture(0xC00000B7, _DENIED_AARCH64, 220, 435, 97, 29, 198, 199, x32=False),
}

PROCESSORS = tuple(_ARCHITECTURES)
"""Those that there is a filter for, by uname(2)'s names."""


def supported(machine: str | None = None) -> bool:
    """Whether there is a filter for this processor."""
    return (machine or platform.machine()) in _ARCHITECTURES


def program(machine: str | None = None) -> bytes:
    """The filter as an array of struct sock_filter, as `bwrap --seccomp` reads it. Raises KeyError."""
    arch = _ARCHITECTURES[machine or platform.machine()]
    code = [_op(_LD_ABS, _ARCH), _jump(_JMP_JEQ, arch.audit, 1, 0), _op(_RET, _KILL), _op(_LD_ABS, _NR)]
    if arch.x32:
        code += [_jump(_JMP_JGE, 0x40000000, 0, 1), _deny(errno.ENOSYS)]
    for number in dict.fromkeys(arch.denied):
        code += [_jump(_JMP_JEQ, number, 0, 1), _deny(errno.EPERM)]
    # The flags of clone3 lie behind a pointer, where no filter can look: libc falls back to clone.
    code += [_jump(_JMP_JEQ, arch.clone3, 0, 1), _deny(errno.ENOSYS)]
    for number in (arch.clone, arch.unshare):
        code += _when(number, [_op(_LD_ABS, _ARG0), _jump(_JMP_JSET, _NAMESPACE_FLAGS, 0, 1), _deny(errno.EPERM)])
    requests = [_op(_LD_ABS, _ARG1)]
    for request in (_TIOCSTI, _TIOCLINUX):
        requests += [_jump(_JMP_JEQ, request, 0, 1), _deny(errno.EPERM)]
    code += _when(arch.ioctl, requests)
    families = [_op(_LD_ABS, _ARG0)]
    for position, family in enumerate(_FAMILIES):
        families.append(_jump(_JMP_JEQ, family, len(_FAMILIES) - position, 0))
    families.append(_deny(errno.EAFNOSUPPORT))
    for number in (arch.socket, arch.socketpair):
        code += _when(number, families)
    return b"".join([*code, _op(_RET, _ALLOW)])


def _when(number: int, body: list[bytes]) -> list[bytes]:
    """`body` for that system call, then allowed; others pass by with their number still loaded."""
    return [_jump(_JMP_JEQ, number, 0, len(body) + 1), *body, _op(_RET, _ALLOW)]


def _op(code: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, 0, 0, value)


def _jump(code: int, value: int, if_true: int, if_false: int) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _deny(number: int) -> bytes:
    return _op(_RET, _ERRNO | number)
