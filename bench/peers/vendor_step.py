#!/usr/bin/env python3
"""A training step by cutis' own kernels and by the vendor's library behind the same calls (kernels/backend.h), two processes
taking turns on the same device.

usage: bench/peers/vendor_step.py [options] build/release/bench/bench_train

Standard library only."""
import argparse

import training_command
import turns


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    training_command.add_options(parser)
    parser.add_argument("--device-name", help="as it is to stand in the results; default: the CPU's")
    turns.add_options(parser, rounds=15)
    options = parser.parse_args()
    training_command.settle(options, turns.shapes)
    cases = []
    for model in options.models.split(","):
        for batch, size in options.shapes:
            words = training_command.words(options, model, batch, size)
            with turns.Served(*words) as own, turns.Served(*words, "--backend", "vendor") as vendor:
                times = turns.take_turns({"own": own.measure, "vendor": vendor.measure}, options.rounds,
                                         warm_up=1 if options.smoke else 3)
            cases.append(turns.case(f"training_step/{model}/{options.precision}/{size}px/n{batch}", times["own"],
                                    times["vendor"], images=batch))
    library = "cuDNN" if options.device == "cuda" else "oneDNN"
    turns.report(f"cutis with {library}", options.device_name or turns.processor(), options.threads, cases, options.json,
                 options.smoke)


if __name__ == "__main__":
    main()
