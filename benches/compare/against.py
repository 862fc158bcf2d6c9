"""Two builds of this log, measured in alternating pairs: `benches/compare/run --against DIR`.

The speed of a machine varies over hours, so times are compared pair by pair, and each ratio has a confidence interval.
The cost of a write in system calls, context switches, allocations and instructions varies much less.
"""

import __main__ as run  # the script `run`, whose classes and measurements are used here
import argparse
import http.client
import itertools
import json
import math
import re
import shutil
import statistics
import struct
import time

from report import FIELDS, Results, figure, ratios

OUTSIDE_SHARE = 0.05
SYSTEM_CALLS, SWITCHES, INSTRUCTIONS = "raw_syscalls:sys_enter", "context-switches", "instructions:u"
EVENTS = {"system calls": SYSTEM_CALLS, "context switches": SWITCHES, "instructions": INSTRUCTIONS}
CALLGRIND_PAUSE_SECONDS = 0.02
TROUBLES = (run.Trouble, OSError, ValueError, KeyError, TypeError, http.client.HTTPException)


# The builds.


class Build(run.Ours):
    """One of the two builds. They use the same ports, one at a time."""

    def __init__(self, options, name, target):
        super().__init__(argparse.Namespace(**{**vars(options), "target": target}), 0)
        self.key = self.name = name

    def nodes(self):
        """The nodes to measure. Both secondaries do the same work."""
        return {"master": self.processes[-1].pid, "secondary-1": self.processes[0].pid}


class Counted(Build):
    """A build whose allocations and events are counted while it is loaded, which slows it down only a little."""

    # Other load on the machine decides how often a thread waits, and how many writes share a sync: hence a median.
    rounds = 3
    writers = (1, 64)

    def spawn(self, name, command, environment=None, user=None):
        if self.options.allocations:
            file = str(self.directory / f"{name}.allocations")
            environment = {**environment, "LD_PRELOAD": str(self.options.allocations), "ALLOCATIONS_FILE": file}
        return super().spawn(name, command, environment, user)

    def load(self, clients, seconds):
        """The load, run by a perf for each node, which counts for exactly as long as the load runs."""
        command, events = super().load(clients, seconds), ",".join(EVENTS[what] for what in self.options.events)
        for node, pid in self.nodes().items() if events else ():
            perf = ["perf", "stat", "-x", ",", "-o", self.directory / f"{node}.perf", "-e", events, "-p", pid, "--"]
            command = perf + command
        return command

    def counts(self):
        """Allocations since the start, and events of the last load."""
        allocations, events = {}, {}
        for node in self.nodes():
            if self.options.allocations:
                calls, size = struct.unpack("QQ", (self.directory / f"{node}.allocations").read_bytes())
                allocations |= {(node, "allocations"): calls, (node, "bytes allocated"): size}
            for what in self.options.events:
                text = (self.directory / f"{node}.perf").read_text()
                events[node, what] = int(re.search(rf"^(\d+),[^,]*,{EVENTS[what]},", text, re.M)[1])
        return allocations, events

    def count(self):
        """Pairs of (writers, node, what) and its number for a write."""
        with run.running(self, self.options.temp / f"{self.key}-counted"):
            for writers in self.writers:
                run.load_once(self, writers, run.WARM_UP_SECONDS)
                # The log has the number of writes: the load leaves out those whose reply came after its time.
                held, before = self.held(), self.counts()[0]
                text = run.load_once(self, writers, self.options.seconds)[0]
                allocations, events = self.counts()
                counts = {key: number - before[key] for key, number in allocations.items()} | events
                writes, lost = self.held() - held, self.figures(text, self.options.seconds)[4]
                if lost or not writes:  # a failure costs something else than a write
                    raise run.Trouble(f"{lost} writes failed with {writers} writers: {text[:300]}")
                yield from (((writers, *key), number / writes) for key, number in counts.items())


class Simulated(Build):
    """A build in callgrind, which counts instructions on any machine, but runs a node some fifty times slower."""

    rounds = 1
    writes = (100, 600)

    def spawn(self, name, command, environment=None, user=None):
        valgrind = ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={name}.callgrind"]
        return super().spawn(name, [*valgrind, *command], environment, user)

    def instructions(self, writes):
        """The instructions of each node from its start to its end."""
        with run.running(self, self.options.temp / f"{self.key}-simulated"):
            profiles = {node: self.directory / f"{node}.callgrind" for node in self.nodes()}
            body = json.dumps({"message": "x" * run.MESSAGE_BYTES})
            master = http.client.HTTPConnection("127.0.0.1", self.ports[0], timeout=run.START_SECONDS_MAX)
            for _ in range(writes):
                master.request("POST", "/messages", body, {"Content-Type": "application/json"})
                reply = master.getresponse()
                if reply.read() and reply.status != 201:
                    raise run.Trouble(f"a write was answered by {reply.status}")
                # Work after the reply costs less if the next write comes before it, which depends on the speed of the
                # simulator.
                time.sleep(CALLGRIND_PAUSE_SECONDS)
            master.close()
            self.stop()  # a profile is written at the end
            texts = {node: profile.read_text() for node, profile in profiles.items()}
            return {node: int(re.search(r"^totals: (\d+)", text, re.M)[1]) for node, text in texts.items()}

    def count(self):
        """Start and end cost the same in both runs, so the difference is the cost of the writes."""
        (few, many), (less, more) = self.writes, map(self.instructions, self.writes)
        yield from (((1, node, "instructions"), (more[node] - less[node]) / (many - few)) for node in more)


def find_build(name, directory, options):
    """Copies the binaries of a directory, a target directory or a checkout, because a build may replace them."""
    for place in (directory, directory / "release", directory / "target/release"):
        if all((place / binary).is_file() for binary in Build.binaries):
            copies = options.temp / name
            copies.mkdir()
            for binary in Build.binaries:
                shutil.copy2(place / binary, copies)
            run.say(f"{name}: {place.resolve()}")
            return name, copies
    raise run.Trouble(f"{directory} has no {' and '.join(Build.binaries)}, nor its release or target/release")


def ways_to_count(options):
    """Classes that count what can be counted here. Prints the rest."""
    options.allocations = options.temp / "allocations.so"
    run.output("cc", "-O2", "-shared", "-fPIC", "-o", options.allocations, run.HERE / "allocations.c")
    if not options.allocations.exists():
        run.say("left out: allocations: allocations.c cannot be compiled here (it needs gcc and glibc)")
        options.allocations = None
    said = {what: run.output("perf", "stat", "-x", ",", "-e", event, "--", "true") for what, event in EVENTS.items()}
    options.events = [what for what in EVENTS if re.match(r"\d+,", said[what])]
    simulated = "instructions" not in options.events and shutil.which("valgrind")
    for what in EVENTS:
        if what not in options.events:
            rest = " with more than one writer" if what == "instructions" and simulated else ""
            also = " (or valgrind)" if what == "instructions" and not simulated else ""
            run.say(f"left out: {what}{rest}: there is no perf (linux-perf){also} that can count them here")
    return [Counted, Simulated] if simulated else [Counted]


# Statistics.


def interval(values):
    """A distribution-free 95 % interval of the ratio: Wilcoxon's signed ranks, on logarithms.

    It needs only that the logarithms are symmetric about their middle, and those of equal builds are, as the order of a
    pair alternates. A t-interval trusts in a normal distribution, which p99 does not have, and one bad pair spoils it.
    Order statistics of the median need less still, but of eight pairs they give the whole range. Fewer than six pairs
    cannot give 95 %.
    """
    logs = [math.log(value) for value in values]
    means = sorted((a + b) / 2 for a, b in itertools.combinations_with_replacement(logs, 2))
    # ways[sum]: how many of the 2^n choices of signs give the ranks with a plus this sum.
    ways = [1] + [0] * len(means)
    for rank in range(1, len(logs) + 1):
        ways = [number + (ways[total - rank] if total >= rank else 0) for total, number in enumerate(ways)]
    outside = sum(2 * below <= OUTSIDE_SHARE * 2 ** len(logs) for below in itertools.accumulate(ways))
    return (math.exp(means[outside - 1]), math.exp(means[-outside])) if outside else None


def times(results):
    """Rows of cells."""
    for clients, (field, title) in itertools.product(results.clients, FIELDS):
        paired = [ratio for ratio in ratios(results, "theirs", clients, field) if ratio > 0]
        if field == "client_cpu_us" or not paired:
            continue
        both = [figure(results.median(key, clients, field)) for key in ("theirs", "ours")]
        low, high = interval(paired) or (0, math.inf)
        shown, mark = f"{low:.3f} to {high:.3f}" if low else "–", ""
        if not low <= 1 <= high:
            mark = "better" if (low > 1) == (field == "writes_per_second") else "worse"
        yield [str(clients), title, *both, f"{statistics.median(paired):.3f}", shown, mark]


def counts(lines):
    found = {}
    for line in lines:
        if line["kind"] == "count":
            both = found.setdefault((line["clients"], line["node"], line["what"]), {"theirs": [], "ours": []})
            both[line["system"]].append(line["a_write"])
    for (clients, node, what), both in sorted(found.items()):
        if all(both.values()):
            theirs, ours = map(statistics.median, both.values())
            ratio = f"{ours / theirs:.3f}" if theirs else "–"
            yield [str(clients), f"{node}, {what}", figure(theirs), figure(ours), ratio]


def say_table(*rows):
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        cells = [f"{cell:{'<' if at in (1, 5, 6) else '>'}{widths[at]}}" for at, cell in enumerate(row)]
        run.say(("  " + "  ".join(cells)).rstrip())


def report(lines, options):
    run.say(f"\n{options.runs} pairs of {options.seconds} s: medians, and the median of the ratios ours / theirs")
    say_table(["clients", "", "theirs", "ours", "ratio", "95 % interval", ""], *times(Results(lines)))
    run.say("  An interval takes six pairs or more. Of twenty intervals of equal builds, one excludes 1 by chance;")
    run.say("  the times for one number of clients are correlated.")
    run.say("\nA write costs (with many writers that depends on how many share a sync)")
    say_table(["writers", "", "theirs", "ours", "ratio"], *counts(lines))


# The program.


def measure(options, record):
    builds = [find_build(*build, options) for build in (("theirs", options.against), ("ours", options.target))]
    run.measure_all([Build(options, *build) for build in builds], options, record)
    for counting in ways_to_count(options):
        for turn, (name, target) in itertools.product(range(1, counting.rounds + 1), builds):
            run.say(f"  {counting.__name__.lower()} {turn}/{counting.rounds}  {name}")
            try:
                for (clients, node, what), number in counting(options, name, target).count():
                    found = {"clients": clients, "node": node, "what": what, "a_write": number}
                    record({"kind": "count", "run": turn, "system": name, **found})
            except TROUBLES as trouble:
                run.say(f"  {name}: {trouble}")
                record({"kind": "trouble", "run": turn, "system": name, "what": str(trouble)})


def exit_code(work, troubles=run.Trouble):
    """Does the work, which gives its exit code. Says why it ended early."""
    try:
        return work()
    except troubles as trouble:
        run.say(f"error: {trouble}")
        return 2
    except KeyboardInterrupt:
        run.say("stopped, and all started processes have ended")
        return 130


def compare(options):
    lines = [run.machine(options)]

    def work():
        run.compile_load(options)
        measure(options, lines.append)
        report(lines, options)
        if options.json:
            options.json.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return 0 if any(line["kind"] == "result" for line in lines) else 1

    try:
        return exit_code(work)
    finally:
        if any(line["kind"] == "trouble" for line in lines):
            run.say(f"the logs of the failed systems are in {options.temp}")
        else:
            shutil.rmtree(options.temp, ignore_errors=True)
