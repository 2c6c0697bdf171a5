#!/usr/bin/env python3
"""A training step by cutis and by PyTorch, taking turns on the same device.

usage: bench/peers/pytorch_step.py [options] build/release/bench/bench_train

Both sides train the same network (batchnorm in training mode, dropout, cross-entropy, SGD with momentum 0.9 and weight
decay 1e-4) on one fixed batch. PyTorch runs in channels-last, in bf16 by autocast, eagerly, compiled (max-autotune) and, on a
GPU, with the whole step as a CUDA graph. On a GPU a turn of PyTorch's is several steps with one wait behind them, and a turn of
ours as many steps with a wait behind each: what that costs is ours to bear. Needs torch and torchvision."""
import argparse
import sys
import time

import turns

COMMAND = "{program} --serve {model} {batch} {size} {threads} --device {device} --precision {precision}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="bench_train of a build")
    parser.add_argument("--models", default="mobilenet_v2", help="comma-separated")
    parser.add_argument("--shapes", help="BATCHxSIZE, comma-separated; default 16x224,32x96 on a CPU, 256x224 on a GPU")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="default fp32 on a CPU, bf16 on a GPU")
    parser.add_argument("--command", default=COMMAND, help="how our side is started (default: %(default)s)")
    parser.add_argument("--modes", default="eager", help="of PyTorch: eager, compile, cuda-graphs; comma-separated")
    parser.add_argument("--steps", type=int, help="in a turn; default 1 on a CPU, 10 on a GPU")
    turns.add_options(parser, rounds=15)
    options = parser.parse_args()
    on_gpu = options.device == "cuda"
    precision = options.precision or ("bf16" if on_gpu else "fp32")
    shapes = turns.shapes(options.shapes or ("2x32" if options.smoke else "256x224" if on_gpu else "16x224,32x96"))
    rounds, warm_up = (1, 1) if options.smoke else (options.rounds, 3)
    turns.need("torch", "torchvision")
    import torch
    from torch_networks import TrainingStep

    torch.set_num_threads(options.threads)
    if on_gpu and not torch.cuda.is_available():
        print("skipped: PyTorch finds no GPU")
        sys.exit(turns.SKIPPED)
    modes = options.modes.split(",")
    if not on_gpu and "cuda-graphs" in modes:
        parser.error("--modes cuda-graphs: needs --device cuda")
    steps = 1 if options.smoke else options.steps or (10 if on_gpu else 1)

    cases = []
    for model in options.models.split(","):
        for batch, size in shapes:
            words = [word.format(program=options.program, model=model, batch=batch, size=size, threads=options.threads,
                                 device=options.device, precision=precision) for word in options.command.split()]
            with turns.Served(*words) as ours:
                for mode in modes:
                    theirs = TrainingStep(model, batch, size, options.device, precision, mode)

                    def by_pytorch():
                        begin = time.perf_counter()
                        for _ in range(steps):
                            theirs.step()
                        theirs.finish()
                        return (time.perf_counter() - begin) * 1e3 / steps

                    def by_cutis():
                        return sum(ours.measure() for _ in range(steps)) / steps

                    times = turns.take_turns({"cutis": by_cutis, "pytorch": by_pytorch}, rounds, warm_up)
                    cases.append(turns.case(f"training_step/{model}/{precision}/{size}px/n{batch}/{mode}", times["cutis"],
                                            times["pytorch"], images=batch))
    device = torch.cuda.get_device_name() if on_gpu else turns.processor()
    turns.report(f"PyTorch {torch.__version__}", device, options.threads, cases, options.json, options.smoke)


if __name__ == "__main__":
    main()
