"""Let the unit tests judge mutants of the modules that decide: `hatch run mutants`.

Arguments choose modules: `hatch run mutants results/_backend/fingerprint.py`. With
`--again`, changed tests judge what survived the last time.
"""

from __future__ import annotations

import sys

from mutants.modules import Module, modules
from mutants.mutating import judge

#: The part of the mutants that the tests have to notice, equivalent ones left out.
REQUIRED = 0.9


def main(arguments: list[str]) -> int:
    """Judge modules, print what their tests did not notice, and return an exit code."""
    again = "--again" in arguments
    arguments = [each for each in arguments if each != "--again"]
    chosen = {module.name: module for module in modules()}
    if unknown := [name for name in arguments if name not in chosen]:
        print(f"unknown modules {unknown}; known are:", *chosen, sep="\n  ")
        return 2
    rows = []
    is_right = True
    for name in arguments or chosen:
        row, is_enough = _judge(chosen[name], again=again)
        rows.append(row)
        is_right = is_right and is_enough
    print("\n| module | mutants | killed | equivalent | survived | score |")
    print("|---|---|---|---|---|---|", *rows, sep="\n")
    return 0 if is_right else 1


def _judge(module: Module, *, again: bool) -> tuple[str, bool]:
    verdicts = judge(module, again=again)
    survivors = [each for each in verdicts.survivors if each not in module.equivalent]
    wrong = sorted(map(str, module.equivalent - {*verdicts.survivors}))
    mutants = verdicts.killed + len(verdicts.survivors)
    score = verdicts.killed / (verdicts.killed + len(survivors))
    for survivor in survivors:
        print(f"{module.name}: survived: {survivor}", flush=True)
    for text in wrong:
        print(f"{module.name}: is not a survivor, but in equivalent.toml: {text}")
    equivalent = len(verdicts.survivors) - len(survivors)
    numbers = (mutants, verdicts.killed, equivalent, len(survivors), f"{score:.0%}")
    row = " | ".join([f"`{module.name}`", *map(str, numbers)])
    print(f"| {row} |", flush=True)
    return f"| {row} |", score >= REQUIRED and not wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
