#!/usr/bin/env python3
"""Runs a training and notes on the wall clock when its validation first reaches a balanced accuracy; standard library only.

usage: time_to_target.py RUN TARGET TIMELINE COMMAND..

RUN is the folder that `cutis train` writes (COMMAND's --out). TIMELINE holds {"target": .., "seconds": .., "epochs": [{"epoch",
"seconds", "val_balanced_accuracy"}], "reached": that epoch or null}. Seconds count from the start of the process, so that reading data,
validating and saving are in them; those of a run that was cut off and goes on with --resume add up. Leaves with COMMAND's status."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

POLL = 0.05  # seconds


def epochs_in(metrics):
    """Epochs in metrics.jsonl; the last line may be half written."""
    try:
        lines = metrics.read_text().split("\n")[:-1]
    except FileNotFoundError:
        return []
    return [record for record in map(json.loads, lines) if record["kind"] == "epoch"]


def main():
    run, target, path, *command = sys.argv[1:]
    metrics, path, target = pathlib.Path(run) / "metrics.jsonl", pathlib.Path(path), float(target)
    timeline = {"target": target, "seconds": 0.0, "epochs": [], "reached": None}
    if "--resume" in command and path.exists():
        timeline = json.loads(path.read_text())
    else:
        metrics.unlink(missing_ok=True)  # of an earlier run, until the new one begins its own
    before, seen = timeline["seconds"], len(timeline["epochs"])

    def note():
        timeline["seconds"] = before + time.monotonic() - begin
        for record in epochs_in(metrics)[len(timeline["epochs"]):]:
            epoch = {"epoch": record["epoch"], "seconds": timeline["seconds"], "val_balanced_accuracy": record["val_balanced_accuracy"]}
            timeline["epochs"].append(epoch)
            if timeline["reached"] is None and (epoch["val_balanced_accuracy"] or 0.0) >= target:
                timeline["reached"] = epoch
        aside = path.with_suffix(".part")
        aside.write_text(json.dumps(timeline, indent=1) + "\n")
        os.replace(aside, path)

    begin = time.monotonic()
    training = subprocess.Popen(command)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: training.send_signal(received))  # it saves, and can go on
    while training.poll() is None:
        time.sleep(POLL)
        note()
    note()
    reached = timeline["reached"]
    print(f"{len(timeline['epochs']) - seen} epochs in {timeline['seconds'] - before:.1f} s; "
          + (f"balanced accuracy {target:g} on validation after {reached['seconds']:.1f} s, epoch {reached['epoch']}" if reached
             else f"balanced accuracy {target:g} on validation was not reached"))
    sys.exit(training.returncode if training.returncode >= 0 else 128 - training.returncode)


if __name__ == "__main__":
    main()
