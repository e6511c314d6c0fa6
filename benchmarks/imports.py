"""What the routing package adds to `import celery, kombu`.

In an editable install Python looks for it in more places: `hatch run wheels:bench
imports` measures the wheel.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

#: Prints the seconds of the first import, and of that and the second.
PROGRAM = """
from time import perf_counter as now
start = now()
import celery, kombu
middle = now()
import cadasta.workertoolbox.routing
print(middle - start, now() - start)
"""

#: Interpreters that are started.
STARTS = 31


def main() -> None:
    """Print the ratio."""
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True)
    ratios = []
    for _ in range(STARTS):
        output = subprocess.check_output([sys.executable, "-c", PROGRAM], text=True)
        without, with_routing = map(float, output.split())
        ratios.append(with_routing / without)
    ratio = statistics.median(ratios)
    print(f"import celery, kombu: {ratio:.3f} × the time with routing")


if __name__ == "__main__":
    main()
