#!/usr/bin/env python3
"""Keeps the results of tools/gpu_suite.sh and writes them down; standard library only.

results.json holds {"machine": {..}, "parts": {name: record}}, of one build on one device. A record has a status (passed,
failed or "not here"), when it was made, the seconds it took, one line of summary and what the part itself found.
"""

import datetime
import json
import math
import os
import pathlib
import re
import statistics
import subprocess
import sys

PASSED, FAILED, ABSENT = "passed", "failed", "not here"
OUT_OF_TIME = {124, 137}
PACKAGE_MISSING = 77  # what a peer leaves with (bench/peers/turns.py)
PEERS_FIGURES = tuple(f"{figure}{end}" for figure in ("vendor_us", "ratio") for end in ("", "_min", "_max"))
# Held to a figure: least percent of the copy bandwidth, on MobileNetV2's shapes at batch 256.
WANTED = {"depthwise_forward": 60.0, "depthwise_backward.weight": 45.0}


def now():
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def load(path):
    try:
        return json.loads(pathlib.Path(path).read_text())
    except FileNotFoundError:
        return {"machine": {}, "parts": {}}


def write(path, text):
    """Aside first, so that nothing is half-written."""
    aside = pathlib.Path(f"{path}.part")
    with open(aside, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def save(path, results):
    write(path, json.dumps(results, indent=1) + "\n")


def record(path, part, status, summary, seconds=0, **found):
    results = load(path)
    stamp = results["parts"].get(part, {}).get("stamp", 0) + 1
    results["parts"][part] = {"status": status, "summary": summary, "seconds": int(seconds), "date": now(), "stamp": stamp, **found}
    save(path, results)


def answer(*command):
    """A command's output, empty where there is no such command or it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


# ---- what ran where


def machine(path, cutis, smoke, built):
    asked = subprocess.run([cutis, "info", "--json"], capture_output=True, text=True)
    if asked.returncode != 0:
        sys.exit(f"gpu_suite.sh: {cutis} does not run here: {asked.stderr.strip() or asked.returncode}")
    info = json.loads(asked.stdout)
    gpus = [device for device in info["devices"] if device["name"].startswith("cuda")]
    if info["cuda"] == "off" or not gpus:
        why = "the programs have no CUDA kernels" if info["cuda"] == "off" else "no GPU was found (is its driver installed?)"
        sys.exit(f"gpu_suite.sh: {why}")
    queried = answer("nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit", "--format=csv")
    found = {
        "device": gpus[0]["processor"],
        "compute_capability": gpus[0]["compute_capability"],
        "multiprocessors": gpus[0]["multiprocessors"],
        "memory_bytes": gpus[0]["memory_bytes"],
        "cuda": info["cuda"],
        "nvidia_smi": queried.splitlines(),
        "revision": info["git_revision"],
        "version": info["version"],
        "compiler": info["compiler"],
        "build_type": info["build_type"],
        "built": built,
        "system": info["system"],
        "libraries": info["libraries"],
        "smoke": smoke == "true",
    }
    results = load(path)
    before = results["machine"]
    same = all(before.get(key) == found[key] for key in ("device", "revision", "built", "cuda", "smoke"))
    if before and not same:
        print(f"-- the results that were here are of revision {before.get('revision')}, built {before.get('built')}, on {before.get('device')}: starting anew")
        results["parts"] = {}
    results["machine"] = found
    save(path, results)


# ---- parts


def status_of(file):
    text = file.read_text().strip()
    return int(text) if text else 1


def sanitizer_lines(log):
    return [line for line in log.splitlines() if line.startswith("=========") and not line.startswith("========= COMPUTE")][:16]


def tests(path, part, work, seconds):
    count = 0
    skipped, failures, absent, late = [], [], [], []
    for status_file in sorted(pathlib.Path(work).glob("*.rc")):
        job, status = status_file.stem, status_of(status_file)
        log = status_file.with_suffix(".log").read_text(errors="replace")
        listing = status_file.with_suffix(".json")
        if listing.exists():
            for suite in json.loads(listing.read_text())["testsuites"]:
                for test in suite["testsuite"]:
                    name = f"{suite['name']}.{test['name']}"
                    count += 1
                    if test.get("result") == "SKIPPED":
                        skipped.append(name)
                    failures += [{"job": job, "test": name, "message": failure["failure"][:2000]} for failure in test.get("failures", [])]
        if status in OUT_OF_TIME:
            late.append(job)
        elif status != 0 and (not listing.exists() or not any(failure["job"] == job for failure in failures)):
            running = re.findall(r"\[ RUN +\] (\S+)", log)
            failures.append(
                {
                    "job": job,
                    "test": running[-1] if running and not listing.exists() else job,
                    "message": "\n".join(sanitizer_lines(log) or log.splitlines()[-12:]),
                    "exit_status": status,
                }
            )
    good = count > 0 and not failures and not late
    pieces = [f"{count} tests"]
    if failures:
        pieces.append(f"{len({failure['test'] for failure in failures})} failed")
    if skipped:
        pieces.append(f"{len(skipped)} skipped")
    if late:
        pieces.append(f"{len(late)} shards out of time (run the part again: what has passed is not repeated)")
    record(path, part, PASSED if good else FAILED, ", ".join(pieces), seconds, tests=count, skipped=skipped, failures=failures, late=late)


def losses(run):
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [step["loss"] for step in steps if step["kind"] == "step"]


def parity(path, part, work, seconds):
    """Losses of the same run on CPU and GPU: within 1e-4 over five steps and 1e-3 over twenty in fp32, equal when repeated, within 0.05 in bf16."""
    work = pathlib.Path(work)
    faults = []
    for status_file in sorted(work.glob("*.rc")):
        if status_of(status_file) != 0:
            faults.append(f"{status_file.stem} left with {status_of(status_file)}: {' | '.join(status_file.with_suffix('.log').read_text(errors='replace').splitlines()[-3:])}")
    curves, figures = {}, {}
    for name in ("cpu", "cuda", "cuda-again", "cuda-bf16"):
        try:
            curves[name] = losses(work / name)
        except OSError:
            faults.append(f"run {name} left no losses")
    if len(curves) == 4:
        if not curves["cpu"] or len({len(curve) for curve in curves.values()}) != 1:
            faults.append(f"runs have {[len(curve) for curve in curves.values()]} steps")
        else:

            def largest(a, b, steps):
                differences = [abs(x - y) for x, y in zip(curves[a][:steps], curves[b][:steps])]
                return math.inf if any(math.isnan(difference) for difference in differences) else max(differences)

            figures = {
                "steps": len(curves["cpu"]),
                "fp32_5_steps": largest("cpu", "cuda", 5),
                "fp32_20_steps": largest("cpu", "cuda", 20),
                "repeats_bit_for_bit": curves["cuda"] == curves["cuda-again"],
                "bf16": largest("cuda", "cuda-bf16", 20),
            }
            for key, limit in (("fp32_5_steps", 1e-4), ("fp32_20_steps", 1e-3), ("bf16", 0.05)):
                if not figures[key] <= limit:
                    faults.append(f"{key}: losses differ by {figures[key]:.3g}, more than {limit:g}")
            if not figures["repeats_bit_for_bit"]:
                faults.append("two runs on the GPU differ")
    if faults:
        summary = faults[0] + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else "")
    else:
        summary = (
            f"losses of {figures['steps']} steps: fp32 within {figures['fp32_20_steps']:.2g} of the CPU's, "
            f"bf16 within {figures['bf16']:.2g} of fp32's, repeats bit for bit"
        )
    failures = [{"job": part, "test": "parity", "message": fault} for fault in faults]
    record(path, part, FAILED if faults else PASSED, summary, seconds, figures=figures, losses=curves, failures=failures)


def bench(path, part, work, seconds):
    work = pathlib.Path(work)
    cases, failures, context = [], [], {}
    for status_file in sorted(work.glob("*.rc")):
        status = status_of(status_file)
        if status != 0:
            last = status_file.with_suffix(".log").read_text(errors="replace").splitlines()[-3:]
            failures.append({"job": status_file.stem, "test": f"bench {status_file.stem}", "message": f"left with {status}: {' | '.join(last)}"})
            continue
        measured = json.loads(status_file.with_suffix(".json").read_text())
        context = measured["context"]
        for run in measured["benchmarks"]:
            if run.get("error_occurred"):
                failures.append({"job": status_file.stem, "test": run["name"], "message": run.get("error_message", "")})
                continue
            op, kind, shape, batch = run["name"].split("/")[:4]
            case = {"op": op, "type": kind, "shape": shape, "batch": int(batch[1:]), "name": "/".join((op, kind, shape, batch))}
            case["copy_gb_per_s"] = float(context["copy_gb_per_s"])
            for key in ("us", "us_min", "us_max", "us_warm", "bytes", "flops", "GB/s", "%copy", "TFLOP/s", "sets", *PEERS_FIGURES):
                if key in run:
                    case[key] = run[key]
            cases.append(case)
    copies = sorted({case["copy_gb_per_s"] for case in cases})
    summary = f"{len(cases)} cases"
    if failures:
        summary += f", {len(failures)} failed"
    if copies and not load(path)["machine"].get("smoke"):
        summary += f", copy {copies[0]:.0f} to {copies[-1]:.0f} GB/s"
    good = cases and not failures
    about = {key: context.get(key) for key in ("device", "cuda_driver", "cuda_runtime", "cache_bytes", "compute_capability", "multiprocessors")}
    record(path, part, PASSED if good else FAILED, summary, seconds, context=about, cases=cases, failures=failures)


def slowest(path, count):
    """The kernels that take longest, the slowest shape of each."""
    seen = {}
    for case in load(path)["parts"].get("bench", {}).get("cases", []):
        if case["op"] not in seen or seen[case["op"]]["us"] < case["us"]:
            seen[case["op"]] = case
    for case in sorted(seen.values(), key=lambda case: -case["us"])[: int(count)]:
        print(case["name"])


def ncu(path, part, work, seconds):
    """Rows of Nsight Compute's CSV: one per metric of each launch."""
    import csv

    profiles, failures = [], []
    for status_file in sorted(pathlib.Path(work).glob("*.rc")):
        name = status_file.with_suffix(".name").read_text().strip()
        log = status_file.with_suffix(".log").read_text(errors="replace").splitlines()
        start = next((i for i, line in enumerate(log) if line.startswith('"ID"')), None)
        if status_of(status_file) != 0 or start is None:
            failures.append({"job": name, "test": f"ncu {name}", "message": "\n".join(log[-5:])})
            continue
        launches = {}
        for row in csv.DictReader(log[start:]):
            launch = launches.setdefault(row["ID"], {"kernel": row["Kernel Name"]})
            launch[f"{row['Metric Name']} ({row['Metric Unit']})"] = row["Metric Value"]
        profiles.append({"case": name, "launches": list(launches.values())})
    status = PASSED if profiles and not failures else FAILED
    summary = f"{len(profiles)} kernels profiled" + (f", {len(failures)} failed" if failures else "")
    if not profiles and not failures:
        summary = "nothing to profile: part bench has no times"
    record(path, part, status, summary, seconds, profiles=profiles, failures=failures)


def repetitions(benchmarks):
    """Google Benchmark's lines by case, aggregates left out; names without what it adds to them."""
    lines = {}
    for line in benchmarks:
        if line.get("run_type") != "aggregate":
            name = re.sub(r"/(min_time|repeats|iterations|real_time|manual_time)\b.*", "", line.get("run_name", line["name"]))
            lines.setdefault(name, []).append(line)
    return lines


def timed(path, part, work, seconds):
    """Cases of JSON in Google Benchmark's form, with the peer's times where they have one, as `cutis bench-report` reads them."""
    work = pathlib.Path(work)
    cases, failures = [], []
    absent = [(file.stem, file.read_text().strip()) for file in sorted(work.glob("*.absent"))]
    for status_file in sorted(work.glob("*.rc")):
        status, job = status_of(status_file), status_file.stem
        last = status_file.with_suffix(".log").read_text(errors="replace").splitlines()[-3:]
        if status == PACKAGE_MISSING:
            absent.append((job, last[-1] if last else "a package is missing"))
            continue
        if status != 0:
            why = "out of time; run the part again" if status in OUT_OF_TIME else f"left with {status}: {' | '.join(last)}"
            failures.append({"job": job, "test": job, "message": why})
            continue
        measured = json.loads(status_file.with_suffix(".json").read_text())
        for name, lines in repetitions(measured["benchmarks"]).items():
            wrong = next((line for line in lines if line.get("error_occurred")), None)
            if wrong:
                failures.append({"job": job, "test": name, "message": wrong.get("error_message", "")})
                continue
            times = [line["real_time"] * {"ns": 1e-3, "us": 1.0, "ms": 1e3, "s": 1e6}[line["time_unit"]] for line in lines]
            case = {"job": job, "name": name, "peer": measured["context"].get("vendor", ""), "device": measured["context"].get("device", ""),
                    "us": statistics.median(times), "us_min": min(times), "us_max": max(times)}
            case.update({key: lines[-1][key] for key in ("us", "us_min", "us_max", *PEERS_FIGURES) if key in lines[-1]})
            cases.append(case)
    pieces = [f"{len(cases)} cases"] if cases else []
    if failures:
        pieces.append(f"{len(failures)} failed")
    if not load(path)["machine"].get("smoke"):
        for peer in dict.fromkeys(case["peer"] for case in cases if "ratio" in case):
            ratios = [case["ratio"] for case in cases if case["peer"] == peer and "ratio" in case]
            pieces.append(f"{statistics.geometric_mean(ratios):.2f} times as fast as {peer} (geometric mean of {len(ratios)})")
    pieces += [f"{job}: {why}" for job, why in absent]
    status = FAILED if failures else PASSED if cases else ABSENT
    record(path, part, status, "; ".join(pieces), seconds, cases=cases, failures=failures, absent=absent)


def train(path, part, work, seconds):
    work = pathlib.Path(work)
    status = status_of(work / "train.rc")
    if status in OUT_OF_TIME:
        record(path, part, FAILED, "out of time; run the part again: it goes on from its checkpoint", seconds)
        return
    faults = [f"{name} left with {status_of(work / f'{name}.rc')}" for name in ("train", "evaluate") if not (work / f"{name}.rc").exists() or status_of(work / f"{name}.rc") != 0] \
        if status == 0 else [f"train left with {status}"]
    found = {}
    metrics = work / "run" / "metrics.jsonl"
    if metrics.exists():
        lines = [json.loads(line) for line in metrics.read_text().splitlines()]
        found["epochs"] = [line for line in lines if line["kind"] == "epoch"]
        found["final"] = next((line for line in lines if line["kind"] == "final"), None)
    evaluation = work / "run" / "evaluation_test.json"
    if evaluation.exists():
        found["test"] = {key: value for key, value in json.loads(evaluation.read_text()).items() if isinstance(value, (int, float, str))}
    timeline = work / "timeline.json"
    if timeline.exists():
        found["timeline"] = json.loads(timeline.read_text())
    reached, target = found.get("timeline", {}).get("reached"), found.get("timeline", {}).get("target", 0.0)
    if not faults and reached is None:
        best = max((epoch["val_balanced_accuracy"] or 0.0 for epoch in found["timeline"]["epochs"]), default=0.0)
        faults.append(f"balanced accuracy {target:g} on validation was not reached; the best was {best:.3f}")
        summary = faults[0]
    elif faults:
        log = (work / "train.log").read_text(errors="replace").splitlines()[-3:]
        summary = f"{faults[0]}: {' | '.join(log)}"
    else:
        figures = ", ".join(f"{key} {found['test'][key]:.3f}" for key in ("balanced_accuracy", "accuracy", "macro_f1") if key in found.get("test", {}))
        smoke = load(path)["machine"].get("smoke")
        clock = "a dry run" if smoke else f"balanced accuracy {target:g} on validation after {reached['seconds']:.1f} s, epoch {reached['epoch']}"
        summary = f"{clock}; {len(found.get('epochs', []))} epochs; test: {figures}"
    record(path, part, FAILED if faults else PASSED, summary, seconds, failures=[{"job": part, "test": "train", "message": fault} for fault in faults], **found)


# ---- writing it down


def table(head, rows, right=()):
    rule = ["---:" if name in right else "---" for name in head]
    return ["| " + " | ".join(str(cell) for cell in row) + " |" for row in ([head, rule] + rows)]


def duration(seconds):
    return f"{seconds // 60} min {seconds % 60:02d} s" if seconds >= 60 else f"{seconds} s"


def bench_summary(part):
    """Per kernel and type over all shapes: the median and the worst percent of the copy bandwidth."""
    groups = {}
    for case in part.get("cases", []):
        groups.setdefault((case["op"], case["type"]), []).append(case)
    rows = []
    for (op, kind), cases in groups.items():
        percents = [case["%copy"] for case in cases]
        worst = min(cases, key=lambda case: case["%copy"])
        wanted = next((limit for name, limit in WANTED.items() if op.startswith(name)), None)
        rows.append([op, kind, len(cases), f"{statistics.median(percents):.0f}", f"{min(percents):.0f}", worst["shape"], f">= {wanted:.0f}" if wanted else ""])
    return ["kernel", "type", "shapes", "median % of copy", "worst %", "at", "wanted"], rows


def bench_markdown(part):
    lines = [
        "",
        "## Kernels",
        "",
        "Microseconds of a call inside a CUDA graph, cold (arrays take turns, so that the second-level cache holds none of them): median, and fastest to slowest of "
        "15 graphs; warm where the arrays fit in the cache. GB/s count the bytes that must move, each array once each way, also where a kernel moves more. Percent: of "
        "the better of a copy kernel and the driver's copy, over arrays of eight times the cache, in the same process.",
        "",
    ]
    head, rows = bench_summary(part)
    lines += table(head, rows, right=head[2:5])
    for op in dict.fromkeys(case["op"] for case in part["cases"]):
        lines += ["", f"### {op}", ""]
        columns = ["shape", "batch", "type", "us", "fastest to slowest", "warm us", "MB", "GB/s", "% of copy", "TFLOP/s", "vendor us", "vendor / ours"]
        rows = [
            [
                case["shape"],
                case["batch"],
                case["type"],
                f"{case['us']:.1f}",
                f"{case['us_min']:.1f} to {case['us_max']:.1f}",
                f"{case['us_warm']:.1f}" if "us_warm" in case else "",
                f"{case['bytes'] / 1e6:.2f}",
                f"{case['GB/s']:.0f}",
                f"{case['%copy']:.0f}",
                f"{case['TFLOP/s']:.2f}",
                f"{case['vendor_us']:.1f}" if "vendor_us" in case else "",
                f"{case['ratio']:.2f}" if "ratio" in case else "",
            ]
            for case in part["cases"]
            if case["op"] == op
        ]
        lines += table(columns, rows, right=columns[3:])
    return lines


TIMED = {
    "step": ("Training steps beside the vendor's library", "The same step by cutis' kernels and by the library behind the same calls, taking turns. Ratio: the library's time over ours, round by round."),
    "data": ("Images, inference, startup", "Medians of repetitions, with the fastest and the slowest."),
    "peers": ("Beside other libraries", "Taking turns on the same machine with the same shapes. Ratio: the peer's time over ours, round by round."),
}


def milliseconds(case, key):
    return f"{case[key] / 1e3:.3g} ({case[key + '_min'] / 1e3:.3g} to {case[key + '_max'] / 1e3:.3g})" if key in case else ""


def timed_markdown(name, part):
    title, how = TIMED[name]
    columns = ["case", "ms (fastest to slowest)", "peer", "its ms", "ratio"]
    rows = [[case["name"], milliseconds(case, "us"), case["peer"], milliseconds(case, "vendor_us"),
             f"**{case['ratio']:.2f}** ({case['ratio_min']:.2f} to {case['ratio_max']:.2f})" if "ratio" in case else ""] for case in part["cases"]]
    lines = ["", f"## {title}", "", how, ""] + table(columns, rows, right=("ms (fastest to slowest)", "its ms", "ratio"))
    return lines + [line for job, why in part.get("absent", []) for line in ("", f"Not here, {job}: {why}")]


def markdown(path, out):
    results = load(path)
    where, parts = results["machine"], results["parts"]
    on_gpu = where["cuda"] == "nvcc"
    lines = [f"# cutis on {where['device']}", ""]
    if not on_gpu:
        lines += ["CUDA kernels ran on the CPU: **nothing here was measured on a GPU**, and no time is given.", ""]
    dates = sorted(part["date"][:10] for part in parts.values())
    context = parts.get("bench", {}).get("context", {})
    rows = [
        ["date", f"{dates[0]} to {dates[-1]}" if dates and dates[0] != dates[-1] else (dates[0] if dates else "")],
        ["device", f"{where['device']}, compute capability {where['compute_capability']}, {where['multiprocessors']} multiprocessors, {where['memory_bytes'] / 2**30:.0f} GiB"],
        *(["nvidia-smi", line] for line in where["nvidia_smi"]),
        ["CUDA driver, runtime", f"{context.get('cuda_driver', '?')}, {context.get('cuda_runtime', '?')}"],
        ["cutis", f"{where['version']}, revision {where['revision']}, {where['compiler']}, {where['build_type']}"],
        ["system", where["system"]],
    ]
    lines += table(["", ""], rows)
    lines += ["", "## Parts", ""]
    lines += table(["part", "result", "time", ""], [[name, f"**{part['status']}**", duration(part["seconds"]), part["summary"]] for name, part in parts.items()])
    failures = [(name, failure) for name, part in parts.items() for failure in part.get("failures", [])]
    if failures:
        lines += ["", "## Failures", ""]
        for name, failure in failures:
            lines += [f"- {name}, {failure['test']}:", "", "  ```", *("  " + line for line in failure["message"].splitlines()[:12]), "  ```"]
    skipped = [(name, test) for name, part in parts.items() for test in part.get("skipped", [])]
    if skipped:
        lines += ["", "## Skipped tests", ""] + [f"- {name}: {test}" for name, test in skipped]
    if parts.get("bench", {}).get("cases") and on_gpu and not where["smoke"]:
        lines += bench_markdown(parts["bench"])
    for name in TIMED:
        if parts.get(name, {}).get("cases") and on_gpu and not where["smoke"]:
            lines += timed_markdown(name, parts[name])
    timeline = parts.get("train", {}).get("timeline")
    if timeline and on_gpu and not where["smoke"]:
        lines += ["", "## Time to a balanced accuracy", "", "Seconds since the start of `cutis train`, validation and checkpoints included.", ""]
        rows = [[epoch["epoch"], f"{epoch['seconds']:.1f}", f"{epoch['val_balanced_accuracy'] or 0.0:.3f}"] for epoch in timeline["epochs"]]
        lines += table(["epoch", "seconds", "balanced accuracy on validation"], rows, right=("epoch", "seconds", "balanced accuracy on validation"))
    for profile in parts.get("ncu", {}).get("profiles", []):
        lines += ["", f"### Nsight Compute: {profile['case']}", ""]
        columns = list(dict.fromkeys(key for launch in profile["launches"] for key in launch))
        lines += table(columns, [[launch.get(key, "") for key in columns] for launch in profile["launches"]])
    write(out, "\n".join(lines) + "\n")

    # The summary, last of all that the suite prints.
    print()
    print(f"{where['device']}, cutis {where['version']} revision {where['revision']}, CUDA {where['cuda']}")
    if parts.get("bench", {}).get("cases") and on_gpu and not where["smoke"]:
        for row in bench_summary(parts["bench"])[1]:
            print(f"  {row[0]:<40} {row[1]:<5} median {row[3]:>4} % of copy, worst {row[4]:>4} % at {row[5]} {row[6] and '(wanted: ' + row[6] + ' %)'}")
    for name in TIMED:
        for case in parts.get(name, {}).get("cases", []) if on_gpu and not where["smoke"] else []:
            against = f"{case['ratio']:.2f} times as fast as {case['peer']}" if "ratio" in case else ""
            print(f"  {case['name']:<60} {case['us'] / 1e3:>9.3f} ms  {against}")
    for name, failure in failures[:20]:
        print(f"  failed: {name}: {failure['test']}: {failure['message'].splitlines()[0] if failure['message'] else ''}"[:200])
    for name, part in parts.items():
        print(f"  {name:<20} {part['status']:<9} {duration(part['seconds']):>12}  {part['summary']}"[:220])
    print(f"results: {out} and {path}")
    sys.exit(1 if any(part["status"] == FAILED for part in parts.values()) else 0)


def main():
    name, path, *rest = sys.argv[1:]
    if name in ("tests", "parity", "bench", "ncu", "timed", "train", "machine", "slowest", "markdown"):
        globals()[name](path, *rest)
    elif name == "note":
        record(path, *rest)
    elif name == "passed":
        sys.exit(0 if load(path)["parts"].get(rest[0], {}).get("status") == PASSED else 1)
    elif name == "status":
        part = load(path)["parts"].get(rest[0], {})
        print(f"{part.get('status')}: {part.get('summary')}")
    elif name == "place":
        where = load(path)["machine"]
        print(re.sub(r"[^A-Za-z0-9]+", "_", f"{where['revision']} {where['built']} {where['device']}"))
    elif name == "device":
        print(load(path)["machine"]["device"])
    elif name == "mode":
        print(load(path)["machine"]["cuda"])
    elif name == "stamp":
        print(load(path)["parts"].get(rest[0], {}).get("stamp", 0))
    else:
        sys.exit(f"gpu_report.py: {name} is none of its commands")


if __name__ == "__main__":
    main()
