"""The processor's name."""

import platform
from pathlib import Path

import llvmlite.binding as llvm

CPU_TABLE = Path("/proc/cpuinfo")  # Linux


def cpu_name() -> str:
    """The processor's name as its maker gives it if known, and LLVM's name for it.

    Examples
    --------
    >>> from fastmlp._engine.machine import cpu_name
    >>> cpu_name() != ""
    True
    """
    if CPU_TABLE.exists():
        for line in CPU_TABLE.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return f"{value.strip()} ({llvm.get_host_cpu_name()})"
    return f"{platform.processor() or platform.machine()} ({llvm.get_host_cpu_name()})"
