"""A wall clock gone mad, for one process: a small library in front of libc; the monotonic clock stays as it is.

From `begin` on, every reading of the wall clock is off by 400 days, forwards and backwards in turn. Time as the kernel
sees it (time stamps of files, timers) does not change.
"""

import mmap
import os
import struct
import subprocess
import sys
from pathlib import Path

from yannctl.errors import NotInstalledError
from yannctl.export.c_check import find_compiler

JUMP_SECONDS = 400 * 86_400
_PLACE = "YANNCTL_WALL_CLOCK"
_LAYOUT = struct.Struct("=qq")  # seconds of the jump, readings
_SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static struct { int64_t jump, readings; } none, *shared = &none;

__attribute__((constructor)) static void join(void)
{
    const char *path = getenv("@PLACE@");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *memory = file < 0 ? MAP_FAILED : mmap(0, sizeof none, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file >= 0) close(file);
    if (memory != MAP_FAILED) shared = memory;
}

int clock_gettime(clockid_t clock, struct timespec *found)
{
    int code = (int)syscall(SYS_clock_gettime, clock, found);
    if (code == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t reading = __atomic_fetch_add(&shared->readings, 1, __ATOMIC_RELAXED);
        found->tv_sec += reading % 2 ? -shared->jump : shared->jump;
    }
    return code;
}

int gettimeofday(struct timeval *restrict found, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    found->tv_sec = now.tv_sec;
    found->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *found)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (found) *found = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *found, int base)
{
    return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, found) == 0 ? base : 0;
}
"""


class WallClock:
    """The wall clock of processes that are started with its `environment`.

    Args:
        folder: for library and shared page.
        name: of the page; processes with the same name share a clock.

    Raises:
        NotInstalledError: no C compiler, or another system than Linux.
    """

    def __init__(self, folder: Path, name: str = "wall_clock") -> None:
        compiler = find_compiler()
        if not compiler or not sys.platform.startswith("linux"):
            raise NotInstalledError(
                "a wall clock that jumps: needs Linux and a C compiler; apt-get install gcc libc6-dev"
            )
        library, page = folder / "wall_clock.so", folder / name
        if not library.exists():
            source = folder / "wall_clock.c"
            source.write_text(_SOURCE.replace("@PLACE@", _PLACE), "ascii")
            command = [*compiler, "-O1", "-fPIC", "-shared", str(source), "-o", str(library)]
            subprocess.run(command, check=True, capture_output=True)
        page.write_bytes(bytes(_LAYOUT.size))
        with open(page, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _LAYOUT.size)
        self.environment = {**os.environ, "LD_PRELOAD": str(library), _PLACE: str(page)}

    @property
    def readings(self) -> int:
        """How often the wall clock was read."""
        return int(_LAYOUT.unpack(self._memory[:])[1])

    def begin(self, seconds: int = JUMP_SECONDS) -> None:
        """Let every reading jump from now on.

        Args:
            seconds: how far [s]; 0 ends it.
        """
        self._memory[:8] = _LAYOUT.pack(seconds, 0)[:8]

    def close(self) -> None:
        """Give the page back."""
        self._memory.close()
