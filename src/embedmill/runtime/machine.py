"""What this process may use of the machine: cores, memory, and what its processor computes natively."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import platform
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_V1_UNLIMITED = 1 << 60  # bytes; cgroup v1 writes a number near 2^63 for "no limit"


_most_cores: int | None = None


def limit_cores(most: int) -> None:
    """Keep no more cores busy from now on: others of the same work have their part."""
    global _most_cores
    _most_cores = most


def shares_cores() -> bool:
    """Whether `limit_cores` was called."""
    return _most_cores is not None


def cores() -> int:
    """Cores that this process may keep busy: the least of affinity mask, cgroup quota and `limit_cores`, at least 1."""
    return _allowed_cores() if _most_cores is None else min(_allowed_cores(), _most_cores)


@functools.cache
def _allowed_cores() -> int:
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return max(1, allowed if quota is None else min(allowed, math.ceil(quota)))


def most_workers() -> int:
    """Workers that make any sense here: more would only take turns, and as processes each holds a model."""
    return 8 * cores()


@functools.cache
def memory() -> int:
    """Bytes of memory that this process may use: the least of the machine's memory and the cgroup's limit."""
    import psutil

    total = int(psutil.virtual_memory().total)
    limits = [
        int(text)
        for folder in _cgroup_folders("memory")
        for name in ("memory.max", "memory.limit_in_bytes")
        if (text := _read(folder / name)).isdigit()
    ]
    return min([total, *(limit for limit in limits if limit < _V1_UNLIMITED)])


def available_memory() -> int:
    """Bytes that this process may take now without any being swapped: the least that machine and cgroup leave."""
    import psutil

    left = [int(psutil.virtual_memory().available)]
    for folder in _cgroup_folders("memory"):
        for limit, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            most, now = _read(folder / limit), _read(folder / used)
            if most.isdigit() and now.isdigit() and int(most) < _V1_UNLIMITED:
                left.append(int(most) - int(now) + _reclaimable(folder))
    return max(0, min(left))


def _reclaimable(folder: Path) -> int:
    """Bytes of files in a cgroup's memory that the kernel gives back before anything is short."""
    counts = dict(line.partition(" ")[::2] for line in _read(folder / "memory.stat").splitlines())
    return next((int(counts[name]) for name in ("inactive_file", "total_inactive_file") if name in counts), 0)


def resident_memory() -> int:
    """Bytes of memory that this process takes now; 0 where the kernel does not tell."""
    pages = _read(Path("/proc/self/statm")).split()[1:2]
    return int(pages[0]) * os.sysconf("SC_PAGE_SIZE") if pages else 0


@functools.cache
def identity() -> str:
    """What tells this machine from others, for as long as it is installed; "" where nothing does.

    A container mostly has none: those that come and go with the same folder mounted are then the same place.
    """
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        if found := _read(Path(path)).strip():  # not told as it is: see machine-id(5)
            return hashlib.sha256(f"embedmill {found}".encode()).hexdigest()[:16]
    if platform.system() == "Darwin":
        import uuid  # a millisecond

        return f"{uuid.getnode():012x}"
    return ""


def killed_for_memory() -> int:
    """How many processes the kernel has killed for want of memory so far; 0 where nothing counts them.

    Those in the cgroup of this process, where that counts them.
    """
    for folder in _cgroup_folders("memory"):
        for name in ("memory.events", "memory.oom_control"):
            counts = dict(line.partition(" ")[::2] for line in _read(folder / name).splitlines())
            if counts.get("oom_kill", "").isdigit():
                return int(counts["oom_kill"])
    counts = dict(line.partition(" ")[::2] for line in _read(Path("/proc/vmstat")).splitlines())
    return int(counts.get("oom_kill", 0))


@functools.cache
def processor() -> str:
    """The processor's name as the system gives it."""
    return _of_processor("model name") or platform.processor() or platform.machine()


@functools.cache
def features() -> frozenset[str]:
    """The processor's instruction-set flags, as Linux names them; empty where they cannot be read."""
    return frozenset(_of_processor("flags", "Features").split())


def _of_processor(*names: str) -> str:
    lines = _read(Path("/proc/cpuinfo")).splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(names)), "")


def computes_bf16() -> bool:
    """Whether products of bfloat16 matrices run in the processor's own instructions.

    Emulated ones are slower than float32 by orders of magnitude.
    """
    return bool(features() & {"avx512_bf16", "amx_bf16"})


def cpu_quota() -> float | None:
    """The strictest CPU quota over this process's cgroups, in cores; None for no quota."""
    quotas = []
    for folder in _cgroup_folders("cpu"):
        match _read(folder / "cpu.max").split():
            case [quota, period] if quota != "max":
                quotas.append(int(quota) / int(period))
        quota = _read(folder / "cpu.cfs_quota_us")
        period = _read(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit():  # v1 writes -1 for no quota
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def _cgroup_folders(controller: str) -> list[Path]:
    """The cgroup folder of this process for a controller and all above it: a limit may sit at any level."""
    folders: list[Path] = []
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = _CGROUP / controllers if controllers else _CGROUP
        here = root / path.lstrip("/")
        # In a container the path may be the host's: the mount's own root is then the container's limit.
        folders += [folder for folder in (here, *here.parents) if folder.is_relative_to(root)]
    return folders


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
