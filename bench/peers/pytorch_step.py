#!/usr/bin/env python3
"""MobileNetV2's training step, cutis and PyTorch taking turns on the same cores.

usage: bench/peers/pytorch_step.py [--rounds 15] [--threads N] [--json FILE] build/release/bench/bench_step

Both sides train the same network (batchnorm in training mode, dropout, cross-entropy, SGD with momentum 0.9 and weight
decay 1e-4) on one fixed batch, fp32; PyTorch runs eagerly in channels-last. A round is one step of each, in turn, the first
side changing from round to round; the figure of a round is its ratio, so that a drift of the machine's speed cancels.
Prints a Markdown table; needs torch and torchvision.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import time

import torch
import torchvision

SHAPES = ((16, 224), (32, 96))
PAUSE = 0.02  # seconds: the other side's idle threads stop spinning


class PyTorch:
    def __init__(self, batch, size):
        torch.manual_seed(1)
        self.model = torchvision.models.mobilenet_v2(num_classes=7).to(memory_format=torch.channels_last).train()
        self.images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
        self.labels = torch.arange(batch) % 7
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def step(self):
        begin = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(self.model(self.images), self.labels).backward()
        self.optimizer.step()
        return (time.perf_counter() - begin) * 1e3


class Cutis:
    def __init__(self, program, batch, size, threads):
        self.process = subprocess.Popen([program, "--serve", str(batch), str(size), str(threads)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def step(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def spread(values):
    ordered = sorted(values)
    return {"median": statistics.median(ordered), "min": ordered[0], "max": ordered[-1]}


def measure(program, batch, size, rounds, threads):
    ours, theirs = Cutis(program, batch, size, threads), PyTorch(batch, size)
    for _ in range(3):
        ours.step()
        theirs.step()
    times = {"cutis": [], "pytorch": []}
    for i in range(rounds):
        sides = [("cutis", ours), ("pytorch", theirs)]
        for name, side in sides if i % 2 == 0 else reversed(sides):
            time.sleep(PAUSE)
            times[name].append(side.step())
    ours.close()
    ratios = [p / c for p, c in zip(times["pytorch"], times["cutis"])]
    return {"batch": batch, "size": size, "cutis_ms": spread(times["cutis"]), "pytorch_ms": spread(times["pytorch"]),
            "ratio": spread(ratios), "rounds": rounds}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    processor = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8")
                      if line.startswith("model name")), platform.machine())
    results = [measure(options.program, b, s, options.rounds, options.threads) for b, s in SHAPES]
    print(f"{processor}, {options.threads} threads, PyTorch {torch.__version__}, {options.rounds} rounds, "
          f"{time.strftime('%Y-%m-%d')}\n")
    print("| size, batch | cutis ms (min to max) | PyTorch ms (min to max) | cutis images/s | PyTorch / cutis (min to max) |")
    print("|---|---:|---:|---:|---:|")
    for r in results:
        c, p, q = r["cutis_ms"], r["pytorch_ms"], r["ratio"]
        print(f"| {r['size']} px, {r['batch']} | {c['median']:.0f} ({c['min']:.0f} to {c['max']:.0f}) "
              f"| {p['median']:.0f} ({p['min']:.0f} to {p['max']:.0f}) | {r['batch'] / c['median'] * 1e3:.0f} "
              f"| **{q['median']:.2f}** ({q['min']:.2f} to {q['max']:.2f}) |")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"processor": processor, "threads": options.threads, "torch": torch.__version__,
                       "date": time.strftime("%Y-%m-%d"), "results": results}, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
