#!/usr/bin/env python3
"""From the start of a process to the end of its first training step, by cutis and by PyTorch, taking turns.

usage: bench/peers/pytorch_startup.py [options] build/release/bench/bench_startup

Ours is `cutis train`'s own code: it opens a packed data set, builds the network, writes its first checkpoint, reads and augments a
batch, and trains on it. PyTorch's imports torch and torchvision, builds the same network and trains on random numbers: less work
than ours. Both are in the system's cache. Needs torch and torchvision."""
import argparse
import pathlib
import subprocess
import sys
import time

import turns

CHILD = """
import sys
sys.path.insert(0, {here!r})
import torch
from torch_networks import TrainingStep
torch.set_num_threads({threads})
step = TrainingStep({model!r}, {batch}, {size}, {device!r}, {precision!r})
step.step()
step.finish()
print("stepped", flush=True)
"""


def start(code):
    """Milliseconds from the process's start to its word that the step is done."""
    begin = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        said = process.stdout.readline()
        taken = (time.perf_counter() - begin) * 1e3
    if said != "stepped\n":
        sys.exit("PyTorch's process took no step; its message stands above")
    return taken


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="bench_startup of a build")
    parser.add_argument("--model", default="mobilenet_v2")
    parser.add_argument("--shapes", help="BATCHxSIZE, comma-separated; default 32x224")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--device-name", help="as it is to stand in the results; default: the CPU's")
    turns.add_options(parser, rounds=9)
    options = parser.parse_args()
    turns.need("torch", "torchvision")
    from importlib.metadata import version

    precision = "bf16" if options.device == "cuda" else "fp32"
    cases = []
    for batch, size in turns.shapes(options.shapes or ("2x32" if options.smoke else "32x224")):
        code = CHILD.format(here=str(pathlib.Path(__file__).resolve().parent), threads=options.threads, model=options.model,
                            batch=batch, size=size, device=options.device, precision=precision)
        with turns.Served(options.program, "--serve", options.model, batch, size, options.threads, "--device", options.device) as ours:
            times = turns.take_turns({"cutis": ours.measure, "pytorch": lambda: start(code)}, 1 if options.smoke else options.rounds,
                                     warm_up=0 if options.smoke else 1)
        cases.append(turns.case(f"startup/{options.model}/{precision}/{size}px/n{batch}", times["cutis"], times["pytorch"], images=batch))
    turns.report(f"PyTorch {version('torch')}", options.device_name or turns.processor(), options.threads, cases, options.json,
                 options.smoke)


if __name__ == "__main__":
    main()
