"""A process that loads files it is told of, for the bench: `python -m orchestration.load_process`.

Says `ready` when it is connected. For each line on standard input, a path, it loads that file as events and
prints the most memory it has used so far, in bytes.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from ingest.connection import connect, resolve
from ingest.load import load_file

STATUS = Path("/proc/self/status")


def peak_memory() -> int:
    """The most memory this process has held, in bytes."""
    if STATUS.exists():
        # getrusage would count what the parent held when it made this process.
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Load what standard input names."""
    with connect(resolve()) as connection:
        print("ready", flush=True)
        for line in sys.stdin:
            load_file(connection, line.rstrip("\n"), stream="events")
            print(peak_memory(), flush=True)


if __name__ == "__main__":
    main()
