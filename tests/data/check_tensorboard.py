#!/usr/bin/env python3
"""Prints the scalars that TensorBoard itself reads from a folder of event files.

    python3 -m venv venv && venv/bin/pip install tensorboard
    venv/bin/python tests/data/check_tensorboard.py RUN/tensorboard
"""
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    if not tags:
        sys.exit(f"{sys.argv[1]}: TensorBoard finds no scalars")
    for tag in tags:
        for point in events.Scalars(tag):
            print(f"{tag}\t{point.step}\t{point.value:.9g}\t{point.wall_time:.3f}")


if __name__ == "__main__":
    main()
