#!/usr/bin/env python3
"""Writes golden/: what PyTorch's MobileNetV2 and optimisers make of inputs that the tests repeat.

Usage, in this folder: pip install torch==2.15.0 torchvision==0.29.2 safetensors numpy Pillow && python make_mobilenet_golden.py
With --images the crops are cut anew (the PNG's bytes depend on zlib's version, its pixels do not).
With --check WEIGHTS.safetensors nothing is written: prints the logits of these weights on the crops, to be looked at beside cutis'.

Weights are not stored: both sides draw them from Philox streams that parameters' names tell apart (kernels/philox.h, init_normal in
layers/parts.h). Everything is fp32 on one thread; what fp64 gives stands beside it to show how well-conditioned a figure is."""

import argparse
import csv
import json
import math
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file

HERE = Path(__file__).resolve().parent
GOLDEN = HERE / "golden"
SAMPLE = HERE.parent.parent / "tools" / "sample"
CLASSES = ["mel", "nv", "bcc", "akiec", "bkl", "df", "vasc"]
TILE, COLUMNS, TILES = 64, 4, 16
STEPS = 20


# Philox4x32-10, as kernels/philox.h


def philox_words(count, seed, purpose, a, first_block=0):
    """`count` words of PhiloxStream(seed, purpose, a), from block `first_block` of four."""
    blocks = (count + 3) // 4
    mask = np.uint64(0xFFFFFFFF)
    key = [np.uint64(seed & 0xFFFFFFFF), np.uint64((seed >> 32) ^ (purpose << 24))]
    counter = [np.arange(first_block, first_block + blocks, dtype=np.uint64)] + [np.full(blocks, v, dtype=np.uint64) for v in (purpose, a, 0)]
    for _ in range(10):
        left, right = np.uint64(0xD2511F53) * counter[0], np.uint64(0xCD9E8D57) * counter[2]
        counter = [(right >> np.uint64(32)) ^ counter[1] ^ key[0], right & mask,
                   (left >> np.uint64(32)) ^ counter[3] ^ key[1], left & mask]
        key = [(key[0] + np.uint64(0x9E3779B9)) & mask, (key[1] + np.uint64(0xBB67AE85)) & mask]
    return np.stack(counter, axis=1).reshape(-1)[:count]


def name_hash(name):
    value = 2166136261
    for byte in name.encode():
        value = ((value ^ byte) * 16777619) & 0xFFFFFFFF
    return value


def normals(shape, seed, name):
    """init_normal with deviation 1, in the file's order."""
    values = np.empty(math.prod(shape), np.float32)
    chunk = 1 << 20  # values at a time: a linear layer of VGG-16 has a hundred million
    for begin in range(0, values.size, chunk):
        part = values[begin:begin + chunk]
        words = philox_words(2 * part.size, seed, 1, name_hash(name), begin // 2)
        uniform = (words >> np.uint64(8)).astype(np.float32) * np.float32(2.0**-24)
        radius = np.sqrt(np.float32(-2) * np.log(np.float32(1) - uniform[0::2]))
        part[:] = radius * np.cos(np.float32(6.28318530717958647692) * uniform[1::2])
    return torch.from_numpy(values.reshape(shape))


# Models


def network(classes, width):
    return torchvision.models.mobilenet_v2(num_classes=classes, width_mult=width, dropout=0.0)


def initialise(model, seed):
    """MobileNetV2::init: torchvision's rule, drawn from Philox."""
    state = model.state_dict()
    for name, value in state.items():
        if value.dim() == 4:
            value.copy_(normals(value.shape, seed, name) * np.sqrt(np.float32(2) / np.float32(value.shape[0] * value[0, 0].numel())))
        elif value.dim() == 2:
            value.copy_(normals(value.shape, seed, name) * np.float32(0.01))
        elif name == "classifier.1.bias":
            value.zero_()


def scatter(model, seed, gamma, beta):
    """Parameters and statistics of which none is trivial: the rule of test_mobilenet_golden.cpp. gamma and beta are the means of
    batchnorm's weights and biases."""
    for name, value in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        drawn = normals(value.shape, seed, name)
        if value.dim() == 4:
            value.copy_(drawn * np.sqrt(np.float32(2) / np.float32(value[0].numel())))
        elif value.dim() == 2:
            value.copy_(drawn * np.sqrt(np.float32(1) / np.float32(value.shape[1])))
        elif name.endswith("running_var"):
            value.copy_(torch.exp(np.float32(0.3) * drawn))
        elif name.endswith("running_mean") or name == "classifier.1.bias":
            value.copy_(np.float32(0.2) * drawn)
        elif name.endswith(".weight"):
            value.copy_(np.float32(gamma) * (1 + np.float32(0.2) * drawn))
        else:
            value.copy_(np.float32(beta) + np.float32(0.2) * drawn)


def normalised(pixels, mean, std):
    """n h w c of u8 to n c h w."""
    x = (torch.from_numpy(pixels).float() / 255 - torch.tensor(mean)) / torch.tensor(std)
    return x.permute(0, 3, 1, 2).contiguous()


def logits_of(model, x):
    with torch.no_grad():
        return model.eval()(x)


def losses_of(model, x, labels, lr, steps=STEPS, loss_of=torch.nn.functional.cross_entropy):
    """Losses of SGD steps with momentum 0.9 and weight decay 1e-4 on every parameter, before each update. loss_of(output, labels)."""
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(model(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def figures(judged, trained, x, labels, lr):
    """Logits of the model that judged() makes, losses of training the one that trained() makes, and the largest difference that fp64
    makes to each."""
    logits, losses = logits_of(judged(), x), losses_of(trained(), x, labels, lr)
    exact = logits_of(judged().double(), x.double())
    exact_losses = losses_of(trained().double(), x.double(), labels, lr)
    return {"lr": lr, "logits": [[round(v, 8) for v in row] for row in logits.tolist()],
            "losses": [round(v, 8) for v in losses],
            "fp64_difference": {"logits_relative": float((logits - exact).abs().max() / exact.abs().max()),
                                "losses": max(abs(a - b) for a, b in zip(losses, exact_losses))}}


# Images


def cut_crops():
    """A 4 x 4 mosaic of 64 px centre crops: 16 sample images, the classes in turn."""
    with open(SAMPLE / "ham10000" / "HAM10000_metadata.csv", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["image_id"])
    chosen = [[row for row in rows if row["dx"] == CLASSES[i % 7]][i // 7] for i in range(TILES)]
    mosaic = Image.new("RGB", (TILE * COLUMNS, TILE * COLUMNS))
    for i, row in enumerate(chosen):
        image = Image.open(SAMPLE / "ham10000" / "images" / (row["image_id"] + ".jpg")).convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        tile = image.resize((TILE, TILE), Image.Resampling.BOX, box=(left, top, left + side, top + side))
        mosaic.paste(tile, (i % COLUMNS * TILE, i // COLUMNS * TILE))
    mosaic.save(GOLDEN / "crops.png", optimize=True)
    write("crops.json", {"images": [row["image_id"] for row in chosen], "labels": [CLASSES.index(row["dx"]) for row in chosen]})


def crops():
    """n h w c of u8, and the labels."""
    mosaic = np.asarray(Image.open(GOLDEN / "crops.png"))
    tiles = [mosaic[i // COLUMNS * TILE:][:TILE, i % COLUMNS * TILE:][:, :TILE] for i in range(TILES)]
    return np.stack(tiles), torch.tensor(json.loads((GOLDEN / "crops.json").read_text())["labels"])


def write(name, content):
    (GOLDEN / name).write_text(json.dumps(content, indent=None, separators=(",", ":")) + "\n")
    print(f"{name}: {(GOLDEN / name).stat().st_size} bytes")


# What is written


def make_layout():
    state = network(1000, 1.0).state_dict()
    shapes = {name: list(value.shape) for name, value in state.items() if not name.endswith("num_batches_tracked")}
    widths = {}
    for width in [0.1, 0.15, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.75, 0.85, 0.9, 1.0, 1.1, 1.25, 1.3, 1.4, 1.5, 2.0]:
        widths[str(width)] = sum(p.numel() for p in network(1000, width).parameters())
    write("mobilenet_v2_layout.json", {"torchvision": torchvision.__version__, "shapes": shapes, "parameters_by_width": widths})


def make_networks():
    pixels, labels = crops()
    enlarged = pixels.repeat(2, axis=1).repeat(2, axis=2)
    imagenet = normalised(pixels, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    features = load_file(SAMPLE / "weights" / "mobilenet_v2_imagenet_features.safetensors")

    def scattered(classes, width, gamma, beta):
        def make():
            model = network(classes, width)
            scatter(model, 11, gamma, beta)
            return model
        return make

    def scattered_figures(classes, width):
        # Logits that depend on the image want activations around 0. Training wants most of them between ReLU6's ends: around 0,
        # gradients explode with depth and 20 steps turn a rounding error into 0.1.
        return figures(scattered(classes, width, 1.0, 0.0), scattered(classes, width, 0.5, 1.0), imagenet, labels % classes, 0.004)

    def embedded():
        model = network(7, 1.0)
        initialise(model, 13)
        missing, unexpected = model.load_state_dict({k: v.float() for k, v in features.items()}, strict=False)
        assert not unexpected and all("classifier" in n or "num_batches" in n for n in missing)
        return model

    model = network(7, 0.5)
    initialise(model, 12)
    starts = {name: {"first": value.flatten()[:3].tolist(), "norm": float(value.double().norm())}
              for name, value in model.state_dict().items() if value.dim() >= 2}
    write("mobilenet_v2.json", {
        "torch": torch.__version__,
        "initial_values": starts,
        "scattered": scattered_figures(5, 0.35),
        "scattered_quarter": scattered_figures(3, 0.25),
        "embedded": figures(embedded, embedded, normalised(enlarged, [0.5] * 3, [0.5] * 3), labels, 2e-4)})


def make_optimizers():
    """Two parameters, weight decay on the first alone, a learning rate that changes from step to step."""
    factors = [1.0, 0.5, 1.0, 0.25, 2.0, 1.0]
    start = [normals([7], 21, name) for name in ("decayed", "plain")]
    gradients = [[normals([7], 22 + step, name) for name in ("decayed", "plain")] for step in range(len(factors))]
    runs = {
        "sgd": (torch.optim.SGD, dict(lr=0.1, momentum=0.0)),
        "sgd_momentum": (torch.optim.SGD, dict(lr=0.1, momentum=0.9)),
        "sgd_nesterov": (torch.optim.SGD, dict(lr=0.1, momentum=0.8, nesterov=True)),
        "rmsprop": (torch.optim.RMSprop, dict(lr=0.01, alpha=0.9, eps=1e-3, momentum=0.0)),
        "rmsprop_momentum": (torch.optim.RMSprop, dict(lr=0.01, alpha=0.95, eps=1e-3, momentum=0.9)),
        "adamw": (torch.optim.AdamW, dict(lr=0.02, betas=(0.8, 0.95), eps=1e-6)),
    }
    result = {"factors": factors, "weight_decay": 0.05, "start": [p.tolist() for p in start],
              "gradients": [[g.tolist() for g in step] for step in gradients], "runs": {}}
    for name, (kind, options) in runs.items():
        parameters = [torch.nn.Parameter(p.clone()) for p in start]
        optimizer = kind([{"params": [parameters[0]], "weight_decay": 0.05}, {"params": [parameters[1]], "weight_decay": 0.0}],
                         **options)
        trace = []
        for step, factor in enumerate(factors):
            for group in optimizer.param_groups:
                group["lr"] = options["lr"] * factor
            for parameter, gradient in zip(parameters, gradients[step]):
                parameter.grad = gradient.clone()
            optimizer.step()
            trace.append([p.tolist() for p in parameters])
        result["runs"][name] = {"options": options, "after": trace}
    clipped = {}
    for limit in (1.0, 100.0):
        parameters = [torch.nn.Parameter(p.clone()) for p in start]
        for parameter, gradient in zip(parameters, gradients[0]):
            parameter.grad = gradient.clone()
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        clipped[str(limit)] = {"norm": float(norm), "gradients": [p.grad.tolist() for p in parameters]}
    result["clipped"] = clipped
    write("optimizers.json", result)


def check(path):
    state = load_file(path)
    classes = state["classifier.1.weight"].shape[0]
    model = network(classes, 1.0)
    model.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    pixels, _ = crops()
    np.set_printoptions(precision=6, suppress=True)
    for row in logits_of(model, normalised(pixels, [0.5] * 3, [0.5] * 3)).numpy():
        print(" ".join(f"{v:.6f}" for v in row[:8]), f"argmax {row.argmax()} norm {np.linalg.norm(row):.5f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", action="store_true", help="cut the crops anew")
    parser.add_argument("--check", metavar="WEIGHTS", help="print logits of a weights file instead")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    GOLDEN.mkdir(exist_ok=True)
    if arguments.check:
        check(arguments.check)
        return
    if arguments.images:
        cut_crops()
    make_layout()
    make_optimizers()
    make_networks()


if __name__ == "__main__":
    main()
