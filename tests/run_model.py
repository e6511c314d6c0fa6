"""Check the models in `tests/model` with Spin: `hatch run model`.

`test_model.py` checks them within smaller bounds.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from model.checks import LARGE, SMALL, VARIANTS
from model.spin import Verdict, verify
from servers.executables import find_compiler, find_spin


def main() -> int:
    """Check the models and their variants, and return an exit code."""
    if find_spin() is None or find_compiler() is None:
        print("install spin and gcc")
        return 1
    is_right = True
    for check in (*SMALL, *LARGE):
        verdict = _verify(check.model, check.bounds, is_variant=False)
        is_right = is_right and verdict.broken is None
    for variant in VARIANTS:
        print(f"\n{variant.model}, but {variant.meaning}:")
        bounds = {**variant.bounds, variant.change: 1}
        verdict = _verify(variant.model, bounds, is_variant=True)
        is_right = is_right and verdict.broken == variant.breaks
    print("\nAs expected." if is_right else "\nNOT as expected.")
    return 0 if is_right else 1


def _verify(model: str, bounds: Mapping[str, int], *, is_variant: bool) -> Verdict:
    shown = ", ".join(f"{name}={value}" for name, value in bounds.items())
    began_at = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="workertoolbox-model-") as folder:
        verdict = verify(
            *(model, bounds, Path(folder)),
            shortest=is_variant,
            thorough=not is_variant,
        )
    outcome = f"breaks {verdict.broken!r}" if verdict.broken else "holds"
    duration_s = time.monotonic() - began_at
    print(
        f"{model} ({shown}): {outcome}, {verdict.states:,} states, {duration_s:.0f} s",
        flush=True,
    )
    for step in verdict.trace:
        print(f"  {step.process:<12}  {step.source or step.statements}")
        if step.source:
            print(f"  {'':<12}    {step.statements}")
    return verdict


if __name__ == "__main__":
    sys.exit(main())
