"""Says whether a write costs more than it did: `benches/compare/run --guard`.

It counts what a lone write costs the master and a secondary in instructions, system calls and allocations, and compares
that with `costs.json`. Such counts hardly vary, other than times. They do differ between compilers and C libraries: on
another machine, record the costs of the commit before first (`--guard --record`), and do not commit them.
"""

import __main__ as run  # the script `run`, whose classes and measurements are used here
import json
import shutil
import statistics

from against import TROUBLES, exit_code, find_build, say_table, ways_to_count
from report import figure

COSTS = run.HERE / "costs.json"
GUARDED = ("instructions", "system calls", "allocations")
# Counts of one build vary by a hundredth or two.
DEARER = 1.03
COUNTED_SECONDS = 2
SIMULATED_WRITES = (50, 250)


def count(options):
    """What a lone write costs, by node and kind."""
    name, target = find_build("this build", options.target, options)
    found = {}
    for counting in ways_to_count(options):
        counting.writers, counting.writes = (1,), SIMULATED_WRITES
        for _ in range(counting.rounds):
            for (_, node, what), number in counting(options, name, target).count():
                if what in GUARDED:
                    found.setdefault(f"{node}, {what}", []).append(number)
    return {what: round(statistics.median(numbers), 1) for what, numbers in sorted(found.items())}


def compare(costs):
    """Shows the costs beside those that are recorded. Gives whether one has grown."""
    recorded = json.loads(COSTS.read_text())
    ratios = {what: costs[what] / recorded["costs"][what] for what in costs if recorded["costs"].get(what)}
    if not ratios:
        raise run.Trouble(f"nothing of what {COSTS.name} records could be counted here")
    rows = [
        [what, figure(recorded["costs"][what]), figure(costs[what]), f"{ratio:.3f}", "dearer" * (ratio > DEARER)]
        for what, ratio in ratios.items()
    ]
    run.say(f"\nA lone write costs (recorded: {recorded['of']})")
    say_table(["", "recorded", "now", "ratio", ""], *rows)
    return any(ratio > DEARER for ratio in ratios.values())


def record(costs, options):
    of = (run.Ours(options, 0).version(), run.output("rustc", "--version"), run.distribution())
    COSTS.write_text(json.dumps({"of": "; ".join(of), "costs": costs}, indent=2) + "\n")
    run.say(f"recorded: {COSTS}")


def guard(options):
    options.seconds = COUNTED_SECONDS

    def work():
        run.compile_load(options)
        costs = count(options)
        if not costs:
            raise run.Trouble("nothing could be counted here")
        if options.record:
            record(costs, options)
            return 0
        return 1 if compare(costs) else 0

    try:
        return exit_code(work, TROUBLES)
    finally:
        shutil.rmtree(options.temp, ignore_errors=True)
