#!/usr/bin/env python3
"""Leaves out every barrier, wait and commit of the CUDA kernels in turn and asks whether the tests notice.

    cmake --preset simt && cmake --build --preset simt --target kernels_tests
    cmake --preset tsan && cmake --build --preset tsan --target kernels_tests
    tests/mutation/mutate.py                   until something notices each of them; exit status 1 if one is not noticed
    tests/mutation/mutate.py --part 3/8        every eighth mutant, from the third
    tests/mutation/mutate.py --file gemm.cuh --list
    tests/mutation/mutate.py --all             by which detectors
    tests/mutation/mutate.py --all --table     the same, into the table of docs/mutation.md, row by row
    tests/mutation/mutate.py --new --table     what the table has no results of yet
    tests/mutation/mutate.py --list --table    no runs: the table's line numbers are renewed
    tests/mutation/mutate.py --check           whether the table has every line, as it is, and results for it

Nothing is compiled and no source is touched: the simt build does without the line that SIMT_LEAVE_OUT names. One run of
the unchanged kernels with SIMT_TRACE=1 tells which tests reach which line, and what they cost; a mutant runs those only.
"""
import argparse
import concurrent.futures
import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

from table import Table

ROOT = pathlib.Path(__file__).resolve().parents[2]
SYNCHRONISATION = re.compile(
    r"\b(?:__syncthreads|__syncwarp|simt::cluster_sync(?:<[^;]*?>)?|ptx::cp_async_wait<[^;]*?>|ptx::cp_async_commit)\([^()]*\);")
WEAKER = {"cp_async_wait": "one group more", "cluster_sync": "own block only"}
FIRST_BATCH_MS = 1500  # the cheapest tests of a line, which nearly always suffice
SEEDS = (1, 2, 3)
TABLE = ROOT / "docs/mutation.md"
IN_CLUSTERS = " in clusters"


@dataclasses.dataclass(frozen=True)
class Mutant:
    file: str  # from the project's root
    line: int
    text: str
    reason: str  # the comment on it
    function: str
    weaker: str  # what it does less: "one group more", "own block only"; "": it is left out

    @property
    def place(self):
        return f"{self.file}:{self.line}"

    @property
    def leave_out(self):
        return self.place + ("+1" if self.weaker else "")

    @property
    def reached_as(self):
        """Its key in the survey: a cluster's barrier can be weaker only where there is a cluster."""
        return self.place + (IN_CLUSTERS if self.weaker == WEAKER["cluster_sync"] else "")

    @property
    def mutation(self):
        return self.weaker or "left out"


@dataclasses.dataclass(frozen=True)
class Detector:
    name: str
    build: str
    environments: tuple


DETECTORS = (
    Detector("forward", "simt", ({"SIMT_ORDER": "forward"},)),
    Detector("reverse", "simt", ({"SIMT_ORDER": "reverse"},)),
    Detector("random", "simt", tuple({"SIMT_ORDER": "random", "SIMT_SEED": str(seed)} for seed in SEEDS)),
    Detector("warps", "simt", tuple({"SIMT_ORDER": "warps", "SIMT_SEED": str(seed)} for seed in SEEDS)),
    Detector("TSan", "tsan", ({"TSAN_OPTIONS": "halt_on_error=1 exitcode=66"},)),
)


# ---- the mutants

def function_around(lines, index):
    """The name of the function that line `index` stands in."""
    for start in range(index, -1, -1):
        # A function's head may be broken over lines: join it up to its body.
        if not re.match(r"\s{0,4}(?:template|__global__|__device__|static|inline)\b.*", lines[start]):
            continue
        head = " ".join(line.split("//")[0].strip() for line in lines[start:start + 8]).split("{")[0]
        head = re.sub(r"__launch_bounds__\([^)]*\)|template\s*<[^{]*?>\s*(?=__|static|inline)", "", head)
        name = re.search(r"([\w:~]+|operator\(\))\s*\(", head)
        if name:
            return name.group(1)
    return ""


def comment_on(lines, index):
    """What the line says it is for, behind it or above it."""
    if "//" in lines[index]:
        return lines[index].split("//", 1)[1].strip()
    comment = []
    while index > 0 and lines[index - 1].strip().startswith("//"):
        index -= 1
        comment.insert(0, lines[index].strip().lstrip("/ "))
    return " ".join(comment)


def find_mutants(root):
    mutants = []
    for path in sorted((root / "kernels").glob("*.cu*")):
        file = path.relative_to(root).as_posix()
        lines = path.read_text().splitlines()
        for index, line in enumerate(lines):
            code = line.split("//")[0]
            found = SYNCHRONISATION.findall(code)
            if len(found) > 1:
                sys.exit(f"{file}:{index + 1}: two synchronisations in one line; SIMT_LEAVE_OUT knows lines only")
            if not found:
                continue
            mutants += [Mutant(file, index + 1, found[0], comment_on(lines, index), function_around(lines, index), weaker)
                        for weaker in ("", *(way for name, way in WEAKER.items() if name in found[0]))]
    return mutants


# ---- running tests

class Runner:
    """Runs the test program of a build; its processes end with it."""

    def __init__(self, folders):
        self.folders = folders
        self.running = set()
        self.lock = threading.Lock()
        self.ended = False

    def program(self, build):
        return self.folders[build] / "tests" / "kernels_tests"

    def run(self, build, tests, environment, limit_seconds):
        """Exit status (None: over the limit) and output of the named tests."""
        with self.lock:
            if self.ended:
                sys.exit("interrupted")
            process = subprocess.Popen(
                [self.program(build), "--gtest_color=no", "--gtest_filter=" + ":".join(tests)], stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True, cwd=ROOT,
                env={**os.environ, "GTEST_FAIL_FAST": "1", "SIMT_THREADS": "1", **environment})
            self.running.add(process)
        try:
            output, _ = process.communicate(timeout=limit_seconds)
            return process.returncode, output
        except subprocess.TimeoutExpired:
            self.end(process)
            return None, process.communicate()[0]
        finally:
            with self.lock:
                self.running.discard(process)

    @staticmethod
    def end(process):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def end_all(self):
        """What has begun ends, and nothing else begins."""
        with self.lock:
            self.ended = True
            for process in self.running:
                self.end(process)


def run_all_tests(runner, jobs):
    """Output of every CUDA test on the unchanged kernels, traced; in as many processes as there are jobs."""
    def shard(index):
        return runner.run("simt", ["*Cuda*"], {"SIMT_ORDER": "forward", "SIMT_TRACE": "1", "GTEST_FAIL_FAST": "0",
                                               "GTEST_TOTAL_SHARDS": str(jobs), "GTEST_SHARD_INDEX": str(index)}, 3600)
    # Without `with`, which would wait for what an interrupted run is to end.
    results = list(concurrent.futures.ThreadPoolExecutor(jobs).map(shard, range(jobs)))
    output = "\n".join(output for _, output in results)
    if any(status != 0 for status, _ in results):
        failed = sorted(set(re.findall(r"^\[  FAILED  \] (\S+?)(?:,| \()", output, re.MULTILINE)))
        sys.exit(f"the unchanged kernels fail their tests: {', '.join(failed) or output[-2000:]}")
    return output


def survey(runner, jobs):
    """Which tests pass which lines, cheapest first: {"kernels/sum.cu:41": [(ms, test), ..]}. Kept beside the program."""
    kept = runner.folders["simt"] / "mutation_survey.log"
    if kept.exists() and kept.stat().st_mtime > runner.program("simt").stat().st_mtime:
        output = kept.read_text(errors="replace")
    else:
        output = run_all_tests(runner, jobs)
        kept.write_text(output)
    tests, reached = {}, set()
    for line in output.splitlines():
        if match := re.match(r"\[ RUN      \] (\S+)", line):
            reached = set()
        elif " waits at " in line and line.startswith("simt: "):
            for place in line.split(" waits at ")[1].split(", "):
                place = place[place.rfind("kernels/"):]
                reached.add(place)
                if " in clusters of " in line:
                    reached.add(place + IN_CLUSTERS)
        elif match := re.match(r"\[       OK \] (\S+) \((\d+) ms\)", line):
            for place in reached:
                tests.setdefault(place, []).append((int(match[2]), match[1]))
    return {place: sorted(found) for place, found in tests.items()}


def batches(tests):
    """The cheapest tests, then the others."""
    spent, count = 0, 0
    while count < len(tests) and (count == 0 or spent + tests[count][0] <= FIRST_BATCH_MS):
        spent += tests[count][0]
        count += 1
    return [part for part in (tests[:count], tests[count:]) if part]


def verdict(status, output):
    """How a run noticed the mutant ("" if it did not), and the test that did."""
    if status == 0:
        return "", ""
    started = re.findall(r"^\[ RUN      \] (\S+)", output, re.MULTILINE)
    failed = re.search(r"^\[  FAILED  \] (\S+?)(?:, .*)? \(\d+ ms\)$", output, re.MULTILINE)
    test = failed[1] if failed else started[-1] if started else ""
    if status is None:
        return "never ends", test
    if "WARNING: ThreadSanitizer: data race" in output:
        return "race", test
    if re.search(r"kernel \S.* <<<.*>>>: ", output):  # a broken rule, as launch() reports it
        return "scheduler", test
    if status < 0:
        return signal.Signals(-status).name, test
    if status != 1:
        sys.exit(f"a test program ended with status {status}:\n{output[-3000:]}")
    # gtest's own lines: "value 3 of 8 is nan, expected 2"
    return ("NaN" if re.search(r"\bis -?nan\b", output) else "values"), test


def detect(runner, mutant, tests, detector):
    """How a detector notices the mutant in these tests, and in which: ("", "") if it does not."""
    slow = 40 if detector.build == "tsan" else 10
    limit = 120 + slow * sum(ms for ms, _ in tests) / 1000
    for environment in detector.environments:
        status, output = runner.run(detector.build, [name for _, name in tests],
                                    {**environment, "SIMT_LEAVE_OUT": mutant.leave_out}, limit)
        how, test = verdict(status, output)
        if how:
            status, output = runner.run(detector.build, [test], environment, limit)
            if status != 0:
                sys.exit(f"{test} fails with {detector.name} {environment} in the kernels as they are, too:\n{output}")
            return how, test
        if f"simt: left out {mutant.leave_out}, 0 times" in output:
            sys.exit(f"{mutant.leave_out}: its tests do not reach it with {detector.name}")
    return "", ""


def examine(runner, mutant, tests, every_detector):
    """{detector: (how, test)} of those that ran: until one notices the mutant, in the cheapest tests that show it to any;
    with `every_detector` all of them, in the same tests."""
    found = {}
    for batch in batches(tests):
        for detector in DETECTORS:
            found[detector.name] = detect(runner, mutant, batch, detector)
            if found[detector.name][0] and not every_detector:
                return found
        if any(how for how, _ in found.values()):
            break
    return found


# ---- the command

def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simt", type=pathlib.Path, default=ROOT / "build/simt", help="build folder of the orders")
    parser.add_argument("--tsan", type=pathlib.Path, default=ROOT / "build/tsan",
                        help="build folder with the thread sanitizer")
    parser.add_argument("--file", default="", help="only lines of files whose name contains this")
    parser.add_argument("--part", default="0/1", metavar="I/N", help="every N-th mutant, from the I-th (I modulo N)")
    parser.add_argument("--all", action="store_true", help="run every detector on every mutant")
    parser.add_argument("--table", action="store_true", help="with --all or --list: write into docs/mutation.md")
    parser.add_argument("--new", action="store_true", help="--all, of the mutants that docs/mutation.md lacks")
    parser.add_argument("--check", action="store_true", help="whether the table of docs/mutation.md is up to date")
    parser.add_argument("--list", action="store_true", help="name the mutants and stop")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="mutants at a time")
    arguments = parser.parse_args()
    arguments.all = arguments.all or arguments.new
    if arguments.table and not (arguments.all or arguments.list):
        parser.error("--table needs the results of --all, or --list")
    if not re.fullmatch(r"\d+/[1-9]\d*", arguments.part):
        parser.error("--part is I/N, as in 3/8")
    return arguments


def check(table):
    """Exit status of --check; says what to do about a table that is not up to date."""
    without = sorted({mutant.place for mutant in table.mutants if not table.has(mutant)})
    if without:
        print(f"docs/mutation.md has no results of {', '.join(without)}: run tests/mutation/mutate.py --new --table",
              file=sys.stderr)
    elif not table.is_current():
        print("docs/mutation.md has lines that have moved: run tests/mutation/mutate.py --list --table", file=sys.stderr)
    return 0 if table.is_current() else 1


def main():
    arguments = parse_arguments()
    first, step = map(int, arguments.part.split("/"))
    every_mutant = find_mutants(ROOT)
    mutants = [m for m in every_mutant if arguments.file in m.file][first % step::step]
    table = None
    if arguments.table or arguments.new or arguments.check:
        table = Table(TABLE, every_mutant, [detector.name for detector in DETECTORS])
    if arguments.check:
        return check(table)
    if arguments.new:
        mutants = [mutant for mutant in mutants if not table.has(mutant)]
    if arguments.list:
        if arguments.table:
            table.write()
        for mutant in mutants:
            print(f"{mutant.place}: {mutant.function}: {mutant.text} {mutant.mutation}")
        return 0
    runner = Runner({"simt": arguments.simt.resolve(), "tsan": arguments.tsan.resolve()})
    begin = time.monotonic()
    try:
        tests = survey(runner, arguments.jobs)
        print(f"{len(mutants)} mutants; the kernels as they are: {time.monotonic() - begin:.0f} s", flush=True)
        unknown = set(tests) - {mutant.place for mutant in every_mutant}
        unknown = {place for place in unknown if re.fullmatch(r"kernels/\w+\.cuh?:\d+", place)}
        if unknown:
            sys.exit(f"kernels synchronise where this program sees no line to leave out: {', '.join(sorted(unknown))}")
        results = {}
        pool = concurrent.futures.ThreadPoolExecutor(arguments.jobs)
        work = {pool.submit(examine, runner, mutant, tests.get(mutant.reached_as, []), arguments.all): mutant
                for mutant in mutants}
        for done in concurrent.futures.as_completed(work):
            mutant, found = work[done], done.result()
            results[mutant] = found
            if arguments.table:
                table.add(mutant, found)
            caught = [f"{name}: {how}" for name, (how, _) in found.items() if how]
            print(f"{mutant.place} {mutant.text} {mutant.mutation}: {', '.join(caught) or 'NOT NOTICED'}", flush=True)
    finally:
        runner.end_all()
    missed = [mutant for mutant in mutants if not any(how for how, _ in results[mutant].values())]
    for mutant in missed:
        why = "every test passes all the same" if mutant.reached_as in tests else "no test reaches it"
        print(f"not noticed: {mutant.place}: {mutant.text} {mutant.mutation}: {why}", file=sys.stderr)
    print(f"{len(mutants) - len(missed)} of {len(mutants)} mutants noticed, {time.monotonic() - begin:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
