#!/usr/bin/env python3
"""Decoding JPEG files and making squares of them, by cutis and by Python's libraries, taking turns on one core.

usage: bench/peers/pillow_data.py [options] build/release/bench/bench_data

A measurement is all images of the folder once, from memory: decoded, the shorter side resized (bilinear, anti-aliased), the
middle cropped. Peers: Pillow; Pillow with draft mode, which decodes at half, a quarter or an eighth of the size and so gives
other pixels; torchvision, where it is there. Needs Pillow."""
import argparse
import io
import pathlib
import time

import turns

SAMPLE = pathlib.Path(__file__).resolve().parents[2] / "tools/sample/ham10000/sample_600x450"


def by_pillow(files, size, draft):
    from PIL import Image

    def square(data):
        image = Image.open(io.BytesIO(data))
        if draft:
            image.draft("RGB", (size, size))
        image = image.convert("RGB")
        width, height = image.size
        short = min(width, height)
        image = image.resize((size * width // short, size * height // short), Image.Resampling.BILINEAR)
        left, top = (image.width - size) // 2, (image.height - size) // 2
        return image.crop((left, top, left + size, top + size)).tobytes()

    return lambda: [square(data) for data in files]


def by_torchvision(files, size):
    import torch
    import torchvision
    from torchvision.transforms.v2 import functional

    torch.set_num_threads(1)
    tensors = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in files]

    def square(data):
        image = torchvision.io.decode_jpeg(data, mode=torchvision.io.ImageReadMode.RGB)
        return functional.center_crop(functional.resize(image, [size], antialias=True), [size, size])

    return lambda: [square(data) for data in tensors]


def timed(work):
    def measure():
        begin = time.perf_counter()
        work()
        return (time.perf_counter() - begin) * 1e3

    return measure


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="bench_data of a build")
    parser.add_argument("--images", default=SAMPLE, type=pathlib.Path, help="folder of JPEG files; default: the embedded ones")
    parser.add_argument("--size", type=int, default=224)
    turns.add_options(parser, rounds=25)
    options = parser.parse_args()
    turns.need("PIL")
    import PIL

    files = [path.read_bytes() for path in sorted(options.images.glob("*.jp*g"))[:256]]
    if not files:
        parser.error(f"{options.images}: no JPEG file in it")
    peers = {"pillow": by_pillow(files, options.size, False), "pillow_draft": by_pillow(files, options.size, True)}
    versions = f"Pillow {PIL.__version__}"
    try:
        peers["torchvision"] = by_torchvision(files, options.size)
        import torchvision

        versions += f", torchvision {torchvision.__version__}"
    except ImportError:
        print("torchvision is not here: left out")
    with turns.Served(options.program, "--serve", options.images, options.size) as ours:
        sides = {"cutis": ours.measure, **{name: timed(work) for name, work in peers.items()}}
        times = turns.take_turns(sides, 1 if options.smoke else options.rounds, warm_up=1 if options.smoke else 3)
    cases = [turns.case(f"prepare_folder/{options.size}px/{len(files)}_images/{name}", times["cutis"], times[name], images=len(files))
             for name in peers]
    turns.report(versions, turns.processor(), 1, cases, options.json, options.smoke)


if __name__ == "__main__":
    main()
