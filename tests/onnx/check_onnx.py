#!/usr/bin/env python3
"""Holds exported ONNX models to `cutis predict --logits`, in onnxruntime: every model of the table, with weights and statistics that
are all drawn, on crops of the embedded sample, one at a time and three at once, batchnorms folded and not, normalised outside and in
the graph; and every case of tests/tools/test_onnx.cpp to what cutis' ops make of it.

Usage: check_onnx.py CUTIS TOOLS_TESTS [MODEL..]   Leaves with 77 where Python lacks a package (numpy, onnxruntime, Pillow, safetensors)."""

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
OWN_PYTHON = SOURCE / "build/python/bin/python"  # where .ci/run puts the packages

try:
    import numpy as np
    import onnxruntime
    from PIL import Image
    from safetensors.numpy import load_file, save_file
except ImportError as missing:
    if OWN_PYTHON.exists() and Path(sys.prefix) != OWN_PYTHON.parents[1]:
        os.execv(OWN_PYTHON, [str(OWN_PYTHON), *sys.argv])
    print(f"skipped: {missing}; pip install numpy onnxruntime pillow safetensors")
    sys.exit(77)

try:
    import onnx  # looks for mistakes that onnxruntime lets pass
    import onnx.checker
except ImportError:
    onnx = None

CLASSES = 7
TOLERANCE = 1e-4  # of the largest logit
MEAN, STD = np.float32([0.6, 0.5, 0.4]), np.float32([0.2, 0.25, 0.3])
# Sides at which maps are odd, so that windows reach beyond them, and the last one has several pixels. Others: 97.
SIDES = {"alexnet": 151, "alexnet_original": 163}
# Of models with very large classifiers one form says enough.
LARGE = {"alexnet", "alexnet_original", "vgg16", "vgg16_bn"}


def run(*arguments):
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, arguments))}: {done.returncode}: {done.stderr}")
    return done.stdout


def check_cases(tests, folder):
    run("env", f"CUTIS_ONNX_CASES={folder}", tests, "--gtest_filter=Onnx.WritesItsCasesForOnnxruntime")
    models = sorted(folder.glob("*.onnx"))
    assert models, "the tests wrote no case"
    worst = 0.0
    for path in models:
        tensors = load_file(path.with_suffix(".safetensors"))
        x, y = (value.transpose(0, 3, 1, 2) if value.ndim == 4 and name == "x" else value for name, value in sorted(tensors.items()))
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        if onnx is not None:
            onnx.checker.check_model(str(path), full_check=True)
        answers = [session.run(["logits"], {"images": x})[0]]
        if path.stem != "concat_rows":  # there the parts follow each other, not the images
            answers.append(np.concatenate([session.run(["logits"], {"images": image[None]})[0] for image in x]))
        for answer in answers:
            if answer.shape != y.shape or not np.abs(answer - y).max() <= 1e-5 * np.abs(y).max():
                sys.exit(f"case {path.stem}: onnxruntime says\n{answer}\nand cutis\n{y}")
            worst = max(worst, np.abs(answer - y).max() / np.abs(y).max())
    print(f"{len(models)} cases of ops: values agree within {worst:.1e} of the largest", flush=True)


def scatter(path):
    """Gives every tensor of a weights file values of its own; activations stay near 1."""
    tensors, random = load_file(path), np.random.default_rng(5)
    for name, value in tensors.items():
        if name.endswith("running_var"):
            value[...] = np.exp(0.3 * random.standard_normal(value.shape))
        elif value.ndim == 1:
            value[...] = (1.0 if name.endswith(".weight") else 0.0) + 0.2 * random.standard_normal(value.shape)
        else:
            value[...] = random.standard_normal(value.shape, np.float32) * np.float32((2 / value[0].size) ** 0.5)
    save_file(tensors, path)


def crops(folder, side):
    """Three PNG crops and their pixels, n x side x side x 3."""
    paths = sorted((SOURCE / "tools/sample/ham10000/images").iterdir())[:3]
    pixels = []
    for number, path in enumerate(paths):
        image = Image.open(path).convert("RGB")
        factor = max(1, -(-side // min(image.size)))
        image = image.resize((image.width * factor, image.height * factor)).crop((number, 0, number + side, side))
        image.save(folder / f"crop{number}.png")
        pixels.append(np.asarray(image))
    return np.stack(pixels)


def predicted(cutis, folder, name, weights, side, further):
    out = folder / "logits.csv"
    three = lambda values: ",".join(str(v) for v in values)
    run(cutis, "predict", "--model", name, "--weights", weights, "--images", *(folder / f"crop{i}.png" for i in range(3)), "--crop", side,
        "--mean", three(MEAN), "--std", three(STD), "--logits", "--device", "cpu", "--out", out, *further)
    rows = list(csv.reader(out.open()))[1:]
    return np.float32([row[1:] for row in rows])


def check(cutis, name, folder):
    side, weights, model = SIDES.get(name, 97), folder / "weights.safetensors", folder / "model.onnx"
    run(cutis, "convert", "--model", name, "--classes", CLASSES, "--seed", 3, "--out", weights)
    scatter(weights)
    pixels = crops(folder, side)
    expected = predicted(cutis, folder, name, weights, side, [])
    spread = np.abs(expected - expected.mean(0)).max() / np.abs(expected).max()
    if not spread > 1e-3:
        sys.exit(f"{name}: the images get the same logits within {spread:.1e}; this would show nothing")
    worst = 0.0
    for folded in (True, False):
        for normalise in (True, False):
            if name in LARGE and folded != normalise:
                continue
            flags = ["--fold-batchnorm"] * folded + ["--normalise"] * normalise
            said = run(cutis, "convert", "--model", name, "--weights", weights, "--onnx", model, "--size", side, "--mean",
                       ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD)), *flags)
            session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
            metadata = session.get_modelmeta().custom_metadata_map
            assert metadata["model"] == name and metadata["size"] == str(side), metadata
            x = pixels.astype(np.float32) / 255
            x = (x if normalise else (x - MEAN) / STD).transpose(0, 3, 1, 2)
            together = session.run(["logits"], {"images": x})[0]
            alone = np.concatenate([session.run(["logits"], {"images": image[None]})[0] for image in x])
            for logits, how in ((together, "three at once"), (alone, "one at a time")):
                error = np.abs(logits - expected).max() / np.abs(expected).max()
                worst = max(worst, error)
                if not error <= TOLERANCE:
                    sys.exit(f"{name} {' '.join(flags)}, {how}: logits differ by {error:.1e} of the largest\n{said}{logits}\n{expected}")
            if "BatchNormalization" in open(model, "rb").read(2_000_000).decode("latin1") and folded:
                sys.exit(f"{name}: a batchnorm is left with --fold-batchnorm")
    print(f"{name}: logits agree within {worst:.1e} of the largest, {said.splitlines()[-1]}", flush=True)


def scratch(name):
    """A folder in memory where there is room: files are synced, and the larger models are half a gigabyte."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 3 << 30
    return tempfile.TemporaryDirectory(prefix=f"cutis_onnx_{name}_", dir=memory if roomy else None)


def main():
    cutis, tests = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    known = [model["name"] for model in json.loads(run(cutis, "info", "--json"))["models"]]
    if not sys.argv[3:]:
        with scratch("cases") as folder:
            check_cases(tests, Path(folder))
    for name in sys.argv[3:] or known:
        with scratch(name) as folder:
            check(cutis, name, Path(folder))


if __name__ == "__main__":
    main()
