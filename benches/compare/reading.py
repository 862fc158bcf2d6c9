"""What readers get, and what they cost writers: `benches/compare/run --reading`.

It reads the whole log and pages of it, follows it with one and with many followers, measures what an open page and a
scraper of metrics cost a write, and how the memory of the nodes grows with the log.
"""

import __main__ as run  # the script `run`, whose classes and measurements are used here
import contextlib
import json
import shutil
import statistics
import subprocess
import threading
import time
import urllib.request

from against import TROUBLES, exit_code

READ_MESSAGES = 1_000_000
PAGE_CLIENTS = 16
FOLLOWERS = (1, 100, 1_000)
FOLLOWED_RATE = 100
WRITERS = 64
SCRAPED_EVERY_SECONDS = 1


def readers(options, *words):
    command = [options.target / "examples/readers", *words]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise run.Trouble(f"readers {' '.join(map(str, words))}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def median(options, work):
    """The median of each figure."""
    results = [work() for _ in range(options.runs)]
    return {what: statistics.median(result[what] for result in results) for what in results[0]}


def addresses(system):
    return [f"127.0.0.1:{port}" for port in system.ports[:3]]


def read(system, options):
    master, secondary, _ = addresses(system)
    filled = readers(options, "fill", master, READ_MESSAGES)
    run.say(f"{READ_MESSAGES:,} messages of {run.MESSAGE_BYTES} bytes, in batches: {filled['seconds']:.1f} s")
    time.sleep(1)
    for name, node in (("master", master), ("secondary-1", secondary)):
        whole = median(options, lambda: readers(options, "all", node))
        pages = median(options, lambda: readers(options, "pages", node, PAGE_CLIENTS, options.seconds))
        run.say(
            f"  {name}: all of it {whole['megabytes_per_second']:.0f} MB/s; pages of 100 at random, {PAGE_CLIENTS} "
            f"clients: {pages['pages_per_second']:,.0f} a second, p50 {pages['p50_ms']:.2f} ms"
        )


def follow(system, options):
    master, secondary, _ = addresses(system)
    run.say(f"{FOLLOWED_RATE} messages a second, each to all followers")
    for name, node in (("master", master), ("secondary-1", secondary)):
        for followers in FOLLOWERS:
            arguments = ("follow", master, node, followers, FOLLOWED_RATE, options.seconds)
            found = median(options, lambda: readers(options, *arguments))
            lost = found["expected"] - found["delivered"]
            run.say(
                f"  {followers:>5} at the {name}: p50 {found['delivery_p50_ms']:.1f} ms, p99 "
                f"{found['delivery_p99_ms']:.1f} ms; a write p50 {found['write_p50_ms']:.2f} ms, p99 "
                f"{found['write_p99_ms']:.2f} ms" + f"; {lost:.0f} were not delivered" * bool(lost)
            )


@contextlib.contextmanager
def watched(system):
    """An open page on each node, and a scraper."""
    over, streams = threading.Event(), []

    def show(stream):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            while stream.read1(1 << 16):
                pass

    def scrape():
        while not over.wait(SCRAPED_EVERY_SECONDS):
            for node in addresses(system):
                urllib.request.urlopen(f"http://{node}/metrics", timeout=10).read()

    for node in addresses(system):
        streams.append(urllib.request.urlopen(f"http://{node}/live", timeout=10))
    threads = [threading.Thread(target=show, args=(stream,), daemon=True) for stream in streams]
    threads.append(threading.Thread(target=scrape, daemon=True))
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for stream in streams:
            stream.close()


def cost(system, options):
    """Microseconds of processor time a write, on all nodes."""
    held = system.held()
    _, seconds, _, _ = run.load_once(system, WRITERS, options.seconds)
    return seconds * 1e6 / (system.held() - held)


def watch(system, options):
    alone, beside = [], []
    for _ in range(2 * options.runs):
        alone.append(cost(system, options))
        with watched(system):
            beside.append(cost(system, options))
    ratio = statistics.median(many / few for few, many in zip(alone, beside))
    run.say(f"A page of each node open, and its metrics scraped each {SCRAPED_EVERY_SECONDS} s, {WRITERS} writers")
    run.say(
        f"  processor time of a write on all nodes: {statistics.median(beside):.1f} µs, without {statistics.median(alone):.1f} µs, "
        f"ratio {ratio:.3f}"
    )


def memory(system, options):
    """Resident memory while the log grows by single posts."""
    run.say(f"Memory while {WRITERS} writers post {options.writes:,} messages one by one (PSS, MiB: all, each)")
    begun, measured = system.held(), []
    while not measured or measured[-1][0] < options.writes:
        run.load_once(system, WRITERS, 10 * options.seconds if measured else options.seconds)
        measured.append((system.held() - begun, [run.memory_mb([process.pid]) for process in system.processes]))
    for written, each in (measured[0], measured[-1]):
        run.say(f"  after {written:>12,}: {sum(each):.1f} = " + " + ".join(f"{one:.1f}" for one in each))


PARTS = (read, follow, watch, memory)


def reading(options):
    def work():
        run.compile_load(options)
        for part in PARTS:
            system = run.Ours(options, 0)
            with run.running(system, options.temp / part.__name__):
                part(system, options)
        return 0

    try:
        return exit_code(work, TROUBLES)
    finally:
        shutil.rmtree(options.temp, ignore_errors=True)
