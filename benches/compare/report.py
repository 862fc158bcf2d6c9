"""The report of `benches/compare/run`, and its plot, made only from the lines of results."""

import statistics

BUILD = "cargo build --release --workspace --bins --examples"


class Results:
    def __init__(self, lines):
        self.machine = next(line for line in lines if line["kind"] == "machine")
        self.systems = [line for line in lines if line["kind"] == "system"]
        self.left_out = [line for line in lines if line["kind"] == "left_out"]
        self.troubles = [line for line in lines if line["kind"] == "trouble"]
        self.results = [line for line in lines if line["kind"] == "result"]
        self.clients = sorted({line["clients"] for line in self.results})

    def name(self, key):
        return next((system["name"] for system in self.systems if system["key"] == key), key)

    def values(self, key, clients, field):
        return {
            line["run"]: line[field] for line in self.results if line["system"] == key and line["clients"] == clients
        }

    def median(self, key, clients, field):
        values = self.values(key, clients, field)
        return statistics.median(values.values()) if values else None

    def loaders(self, key):
        return ", ".join(sorted({line["loader"] for line in self.results if line["system"] == key})) or "–"

    def measured(self, clients):
        return [system["key"] for system in self.systems if self.values(system["key"], clients, "writes_per_second")]


def figure(number):
    if number >= 100:
        return f"{number:,.0f}"
    return f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def spread(values):
    """The median, with the least and the greatest."""
    values = list(values)
    if not values:
        return "–"
    middle = figure(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({figure(min(values))}–{figure(max(values))})"


FIELDS = (
    ("writes_per_second", "Writes/s"),
    ("p50_ms", "p50, ms"),
    ("p99_ms", "p99, ms"),
    ("server_cpu_us", "Server CPU, µs a write"),
    ("client_cpu_us", "Client CPU, µs a write"),
    ("memory_mb", "Memory, MiB"),
)


def table(head, rows):
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]) + "\n"


def load_tables(results):
    parts = []
    for clients in results.clients:
        rows = []
        for key in results.measured(clients):
            cells = [spread(results.values(key, clients, field).values()) for field, _ in FIELDS]
            name = results.name(key)
            rows.append([f"**{name}**" if key == "ours" else name, *cells])
        title = "1 client" if clients == 1 else f"{clients} clients"
        parts.append(f"### {title}\n\n" + table(["System", *[title for _, title in FIELDS]], rows))
    return "\n".join(parts)


def ratios(results, key, clients, field):
    """Our figure divided by the other's, run by run."""
    ours, theirs = (results.values(name, clients, field) for name in ("ours", key))
    return [ours[run] / theirs[run] for run in ours if theirs.get(run)]


def ratio_table(results, field):
    rivals = [system["key"] for system in results.systems if system["key"] != "ours"]
    rows = [
        [results.name(key), *[spread(ratios(results, key, clients, field)) for clients in results.clients]]
        for key in rivals
    ]
    return table(["This log against", *[f"{clients}" for clients in results.clients]], rows)


def where_rivals_lead(results):
    lines = []
    for clients in results.clients:
        for field, title in FIELDS:
            if field == "client_cpu_us" or results.median("ours", clients, field) is None:
                continue
            ours, ahead = results.median("ours", clients, field), []
            for key in results.measured(clients):
                theirs = results.median(key, clients, field)
                is_ahead = theirs > ours if field == "writes_per_second" else theirs < ours
                if key != "ours" and is_ahead:
                    ahead.append(f"{results.name(key)} ({figure(theirs)})")
            if ahead:
                lines.append(f"| {clients} | {title} | {figure(ours)} | {'; '.join(ahead)} |")
    head = "| Clients | What | This log | Ahead of it |\n| --- | --- | --- | --- |\n"
    return head + "\n".join(lines) + "\n" if lines else "No rival was ahead in any median of this run.\n"


def tell_left_out(results):
    lines = [f"- {line['name']}: {line['why']}" for line in results.left_out]
    for line in results.troubles:
        lines.append(f"- {results.name(line['system'])}, run {line['run']}, is missing in part: {line['what']}")
    return "Left out:\n\n" + "\n".join(lines) if lines else ""


def tell_losses(results):
    lines = []
    for line in results.results:
        if line["failed"]:
            place = f"{results.name(line['system'])}, {line['clients']} clients, run {line['run']}"
            lines.append(f"- {place}: {line['failed']} of {line['writes'] + line['failed']} ({line['first_failure']})")
    return "Writes that failed or got no reply:\n\n" + "\n".join(lines) if lines else ""


def report(results, plot_name):
    facts = results.machine
    how_often = (
        "One run"
        if facts["runs"] == 1
        else f"{facts['runs']} runs, the systems in a different order in each, every time with new data"
    )
    systems = [
        [
            f"**{system['name']}**" if system["key"] == "ours" else system["name"],
            system["version"],
            system["acknowledges"],
            system["configuration"],
            results.loaders(system["key"]),
        ]
        for system in results.systems
    ]
    left_out, losses = tell_left_out(results), tell_losses(results)
    return f"""# Benchmarks against others

Written by `benches/compare/run` on {facts['date']}; do not edit it by hand. All systems ran on one machine,
in one run of the script, under the same load. Compare figures only within these tables.

![Writes a second by system, with the spread of the runs]({plot_name})

## How it was measured

Three members of each system on loopback, data on one file system, one system at a time; a closed loop of clients with
kept connections, each sending its next message of {facts['bytes']} bytes when the last one was acknowledged.
{how_often}.
In each run and for each number of clients: {facts['warm_up']} s of warm-up, then {facts['seconds']} s measured.
Figures are medians, with the least and the greatest of the runs in brackets. After each load, each
system that reports its number of writes (all but the twins) held at least what it had acknowledged.

| Fact | Value |
| --- | --- |
| Machine | {facts['cores']} cores, {facts['processor']}, {facts['memory_gb']} GiB |
| System | {facts['distribution']}, Linux {facts['kernel']}, {facts['file_system']} |
| One `fdatasync` after a small append, before the run | {facts['fdatasync_us']} µs |
| Load average before the run | {facts['load']} |
| Command | `{facts['command']}` |

Server CPU is the time on a core of all processes of a system, from `/proc/PID/stat`, divided by the writes. Client CPU
is that of the load program, which runs on the same cores and takes them from the servers. Memory is that of all
processes of a system while it is loaded, pages that processes share counted once.

## The systems, and what their acknowledgement means

{table(['System', 'Version', 'An acknowledged write is', 'Configuration', 'Load from'], systems)}
{left_out or 'Nothing was left out.'}

## What is not comparable

- The systems promise different things: see the column above. A system that does not sync, or syncs on a majority, waits
  for less than one that waits for three disks. A system that waits for a majority goes on when a member is down, and
  elects a new leader. This log does neither by default.
- Redis replicas acknowledge a write when they receive it, before their own disks have it.
- PostgreSQL, etcd and Redis do more than a log does: tables with an index, keys with a history, data types.
- The twins are not products. The Flask twin is the obvious program. The raw-socket twin shows the cost of this protocol
  without a server library, a store, timeouts or restarts. The raw-socket twin behind `tiny_http` adds the cost of that
  library. The rest of the difference is the cost of this log itself.
- The load programs differ: pgbench for PostgreSQL (one thread, its own log of transactions switched on for the
  percentiles), `test_client bench` for Flask, whose server ends a connection with each reply, and
  `benches/compare/load.c` for all others. Their cost is in the tables.
- PostgreSQL gets the same text each time, the others a different one. etcd over gRPC shares one connection, all others
  have one for each client. pgbench opens them within its time, and nothing counts until then.
- A closed loop understates stalls: while a system stalls, its clients send nothing.
- Servers and load share {facts['cores']} cores, so a system that needs less CPU gains more here than on separate
  machines, and the network costs nothing.

## Results

{load_tables(results)}
{losses or 'No write failed in any run.'}

## Ratios

This log divided by the other one, run by run; the median, with the least and the greatest. Columns are numbers of
clients.

Writes a second (more than 1: this log does more):

{ratio_table(results, 'writes_per_second')}
p50 (less than 1: this log is faster):

{ratio_table(results, 'p50_ms')}
p99:

{ratio_table(results, 'p99_ms')}
Server CPU a write (less than 1: this log needs less):

{ratio_table(results, 'server_cpu_us')}
## Where others are ahead

By the medians above. Differences within the spread are noise.

{where_rivals_lead(results)}
## Run it again

```console
$ {BUILD} && benches/compare/run
```

It needs Linux and Python 3.9, installs nothing, and names what is missing with its Debian package; `--install` fetches
that. `--help` lists all options.
"""


STYLE = """
  svg { color: #24292f; font: 13px system-ui, sans-serif } .paper { fill: #ffffff }
  text { fill: currentColor } .quiet { opacity: .7 } .title { font-weight: 600 }
  .grid { stroke: currentColor; opacity: .15 } .small { font-size: 11px }
  .spread { stroke: currentColor; stroke-width: 1.5; fill: none }
  .other { fill: #8c959f } .ours { fill: #0969da }
  @media (prefers-color-scheme: dark) {
    svg { color: #e6edf3 } .paper { fill: #161b22 } .other { fill: #6e7681 } .ours { fill: #58a6ff }
  }
"""


def plain(text):
    """The text without Markdown, and safe in SVG."""
    return text.replace("`", "").replace("*", "").replace("&", "&amp;").replace("<", "&lt;")


def how_many(results):
    return "one run" if results.machine["runs"] == 1 else f"{results.machine['runs']} runs"


def plot(results):
    """A chart of writes a second at 64 clients, or at the highest measured number below that."""
    clients = max((number for number in results.clients if number <= 64), default=max(results.clients))
    keys = sorted(results.measured(clients), key=lambda key: -results.median(key, clients, "writes_per_second"))
    left, right, top, row = 330, 90, 64, 44
    width, bottom = 860, top + row * len(keys)
    height = bottom + 50
    most = max(max(results.values(key, clients, "writes_per_second").values()) for key in keys)
    step = next(step for power in range(10) for step in (10**power, 2 * 10**power, 5 * 10**power) if most / step <= 6)
    place = lambda value: left + value / most * (width - left - right)
    title = "Writes a second, " + ("1 client" if clients == 1 else f"{clients} clients")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{title}">',
        f"<style>{STYLE}</style>",
        '<rect class="paper" width="100%" height="100%"/>',
        f'<text class="title" x="20" y="28">{title}, {results.machine["bytes"]} bytes, three members</text>',
        f'<text class="quiet" x="20" y="48">{how_many(results)}; a bar is the median, a line the spread</text>',
    ]
    for number in range(int(most // step) + 1):
        x = place(number * step)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(f'<text class="quiet" x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{number * step:,}</text>')
    for number, key in enumerate(keys):
        values = results.values(key, clients, "writes_per_second").values()
        y, middle = top + row * number, statistics.median(values)
        acknowledges = next(system["acknowledges"] for system in results.systems if system["key"] == key)
        kind = "ours" if key == "ours" else "other"
        weight = ' class="title"' if key == "ours" else ""
        parts += [
            f'<text{weight} x="{left - 10}" y="{y + 19}" text-anchor="end">{plain(results.name(key))}</text>',
            f'<text class="quiet small" x="{left - 10}" y="{y + 34}" text-anchor="end">{plain(acknowledges)}</text>',
            f'<rect class="{kind}" x="{left}" y="{y + 9}" width="{place(middle) - left:.1f}" height="26" rx="3"/>',
            f'<text x="{place(max(values)) + 8:.1f}" y="{y + 27}">{figure(middle)}</text>',
        ]
        if len(values) > 1:
            low, high, y = place(min(values)), place(max(values)), y + 22
            parts.append(
                f'<path class="spread" d="M{low:.1f} {y - 6}v12M{low:.1f} {y}H{high:.1f}M{high:.1f} {y - 6}v12"/>'
            )
    return "\n".join([*parts, "</svg>", ""])


def write_report(lines, out):
    results = Results(lines)
    if not results.results:
        print("nothing was measured, so no report is written", flush=True)
        return False
    picture = out.with_suffix(".svg")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(report(results, picture.name))
    picture.write_text(plot(results))
    print(f"written: {out} and {picture}", flush=True)
    return True
