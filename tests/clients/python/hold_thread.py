"""Holds one thread of a process, as a hang would, until the standard input ends.

Usage: hold_thread.py TID. Prints "held" once the thread stands still (ptrace(2)).
"""

import ctypes
import os
import sys

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WALL = 0x40000000

tid = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request):
    if libc.ptrace(request, tid, None, None) != 0:
        sys.exit(f"ptrace({request:#x}): {os.strerror(ctypes.get_errno())}")


ptrace(PTRACE_SEIZE)
ptrace(PTRACE_INTERRUPT)
os.waitpid(tid, WALL)
print("held", flush=True)
# It goes on when this process ends, too.
sys.stdin.read()
ptrace(PTRACE_DETACH)
