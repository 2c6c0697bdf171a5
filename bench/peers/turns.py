"""What the peers have in common: a program of ours that measures when asked, taking turns, medians, and JSON that
`cutis bench-report` reads. Standard library only.

A round measures every side once, the first side changing from round to round. The figure of a round is its ratio, so that
a drift of the machine's speed cancels; reported are medians with the least and the greatest."""
import contextlib
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time

PAUSE = 0.02  # seconds: the other side's idle threads stop spinning
SKIPPED = 77  # exit status where a package is missing


def need(*packages):
    """Leaves with SKIPPED where one of the packages cannot be imported."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as missing:
            print(f"skipped: {missing}; pip install {' '.join(packages).replace('PIL', 'pillow')}")
            sys.exit(SKIPPED)


class Served:
    """A program that answers each line on stdin with the milliseconds of one measurement (bench/program.h)."""

    def __init__(self, *command):
        self.command = [str(word) for word in command]
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(BrokenPipeError):  # it has left by itself
            self.process.stdin.close()
        self.process.wait()

    def measure(self):
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
            return float(self.process.stdout.readline())
        except (BrokenPipeError, ValueError):
            sys.exit(f"{' '.join(self.command)}: no milliseconds came; its message, if it had one, stands above")


def take_turns(sides, rounds, warm_up=3):
    """sides: functions by name, each measuring once and returning milliseconds. Returns lists of `rounds` by name."""
    for _ in range(warm_up):
        for measure in sides.values():
            measure()
    times = {name: [] for name in sides}
    for i in range(rounds):
        order = list(sides.items())
        for name, measure in order[i % len(order):] + order[:i % len(order)]:
            time.sleep(PAUSE)
            times[name].append(measure())
    return times


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def case(name, ours, theirs, **counters):
    """One benchmark: milliseconds of both sides, round by round. Ratio: theirs over ours, above 1 ours is faster."""
    entry = {"name": name, "run_name": name, "run_type": "iteration", "repetitions": len(ours), "iterations": len(ours),
             "real_time": 1e3 * statistics.median(ours), "time_unit": "us"}
    ratios = [theirs_ms / ours_ms for ours_ms, theirs_ms in zip(ours, theirs)]
    for counter, values, unit in (("us", ours, 1e3), ("vendor_us", theirs, 1e3), ("ratio", ratios, 1.0)):
        for suffix, value in spread(values).items():
            entry[counter if suffix == "median" else f"{counter}_{suffix}"] = unit * value
    return {**entry, **counters}


def processor():
    """The CPU's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def cores():
    return len(os.sched_getaffinity(0))


def report(peer, device, threads, cases, path=None, smoke=False):
    """Prints a Markdown table and writes the JSON to `path`."""
    context = {"date": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "device": device, "threads": str(threads), "vendor": peer,
               "smoke": "true" if smoke else "false"}
    print(f"{device}, {threads} threads, {peer}, {context['date'][:10]}{'; a dry run: its times say nothing' if smoke else ''}\n")
    print("| case | rounds | cutis ms (min to max) | peer ms (min to max) | peer / cutis (min to max) |\n|---|---:|---:|---:|---:|")
    for entry in cases:
        cells = [f"{entry[key] / unit:.2f} ({entry[key + '_min'] / unit:.2f} to {entry[key + '_max'] / unit:.2f})"
                 for key, unit in (("us", 1e3), ("vendor_us", 1e3), ("ratio", 1))]
        print(f"| {entry['name']} | {entry['repetitions']} | {' | '.join(cells)} |")
    if path:
        aside = f"{path}.part"
        with open(aside, "w", encoding="utf-8") as file:
            json.dump({"context": context, "benchmarks": cases}, file, indent=1)
            file.write("\n")
        os.replace(aside, path)


def shapes(text):
    """"16x224,32x96" as [(16, 224), (32, 96)]: batch and side."""
    return [tuple(int(number) for number in shape.split("x")) for shape in text.split(",")]


def add_options(parser, rounds):
    """Flags that every peer has."""
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--json", help="results for `cutis bench-report`")
    parser.add_argument("--smoke", action="store_true", help="a dry run: tiny shapes, one round")
