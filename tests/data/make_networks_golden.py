#!/usr/bin/env python3
"""Writes golden/lstm.json and golden/networks.json: what PyTorch's LSTM and torchvision's networks make of inputs that the tests
repeat. Packages and rules as in make_mobilenet_golden.py: weights and inputs are drawn from Philox streams on both sides.

Usage, in this folder: python make_networks_golden.py [lstm] [networks | NETWORK..]; networks by name replace their own figures alone.
VGG-16 takes 6 GB."""

import json
import sys

import numpy as np
import torch
import torchvision
from torch import nn

from make_mobilenet_golden import GOLDEN, crops, logits_of, losses_of, normalised, normals, write

STEPS = 5
CLASSES = 5

# n, t, c, hidden, layers, bidirectional, bias, lengths, states before the first step
LSTM_CASES = {
    "one_of_everything": (1, 1, 1, 1, 1, False, True, None, False),
    "without_bias": (2, 3, 4, 4, 1, False, False, None, False),
    "states": (2, 5, 7, 6, 1, False, True, None, True),
    "lengths": (3, 5, 4, 6, 1, False, True, [5, 2, 3], True),
    "both_directions": (2, 4, 5, 8, 1, True, True, None, True),
    "two_layers": (3, 4, 5, 3, 2, True, True, None, False),
    "all_at_once": (4, 6, 3, 5, 3, True, True, [6, 1, 4, 4], True),
    "none_reaches_the_end": (2, 4, 3, 8, 2, False, True, [2, 3], False),
}


def numbers(tensor):
    return [float(f"{v:.9g}") for v in tensor.detach().flatten().tolist()]


def make_lstm():
    result = {}
    for number, (name, (n, t, c, hidden, layers, both, bias, lengths, states)) in enumerate(LSTM_CASES.items()):
        seed = 100 + number
        draw = lambda what, *shape: (normals(shape, seed, what).double().requires_grad_())
        lstm = nn.LSTM(c, hidden, layers, bias=bias, batch_first=True, bidirectional=both).double()
        with torch.no_grad():
            for parameter, value in lstm.named_parameters():
                value.copy_(np.float32(0.5) * normals(value.shape, seed, parameter))
        directions = layers * (2 if both else 1)
        x, h0, c0 = draw("x", n, t, c), draw("h0", directions, n, hidden), draw("c0", directions, n, hidden)
        given = x if lengths is None else nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, (h, cell) = lstm(given, (h0, c0) if states else None)
        if lengths is not None:
            y, _ = nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=t)
        weighted = [(y, "dy"), (h, "dh"), (cell, "dc")]
        sum((value * normals(value.shape, seed, what).double()).sum() for value, what in weighted).backward()
        gradients = {"x": x.grad, **({"h0": h0.grad, "c0": c0.grad} if states else {}),
                     **{parameter: value.grad for parameter, value in lstm.named_parameters()}}
        result[name] = {"n": n, "t": t, "c": c, "hidden": hidden, "layers": layers, "bidirectional": both, "bias": bias,
                        "lengths": lengths or [], "states": states, "seed": seed, "y": numbers(y), "h": numbers(h),
                        "cell": numbers(cell), "gradients": {key: numbers(value) for key, value in gradients.items()}}
    write("lstm.json", result)


def alexnet_original(classes):
    """Krizhevsky, Sutskever and Hinton 2012, section 3; alpha is not divided by the window's size there."""
    norm = lambda: nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
    relu, pool = lambda: nn.ReLU(), lambda: nn.MaxPool2d(3, 2)
    network = nn.Module()
    network.features = nn.Sequential(
        nn.Conv2d(3, 96, 11, 4), relu(), norm(), pool(), nn.Conv2d(96, 256, 5, padding=2, groups=2), relu(), norm(), pool(),
        nn.Conv2d(256, 384, 3, padding=1), relu(), nn.Conv2d(384, 384, 3, padding=1, groups=2), relu(),
        nn.Conv2d(384, 256, 3, padding=1, groups=2), relu(), pool())
    network.classifier = nn.Sequential(nn.Dropout(0.0), nn.Linear(9216, 4096), relu(), nn.Dropout(0.0), nn.Linear(4096, 4096),
                                       relu(), nn.Linear(4096, classes))
    network.forward = lambda x: network.classifier(nn.AdaptiveAvgPool2d(6)(network.features(x)).flatten(1))
    return network


class MobileNetLstm(nn.Module):
    def __init__(self, classes, width, hidden, pooled):
        super().__init__()
        self.features = torchvision.models.mobilenet_v2(width_mult=width).features
        self.classifier = nn.ModuleDict({"lstm": nn.LSTM(1280, hidden, batch_first=True), "1": nn.Linear(hidden, classes)})
        self.pooled = pooled

    def forward(self, x):
        x = self.features(x)
        steps = x.mean((2, 3)).unsqueeze(1) if self.pooled else x.flatten(2).transpose(1, 2)
        return self.classifier["1"](self.classifier["lstm"](steps)[1][0][-1])


def googlenet(classes):
    return torchvision.models.googlenet(num_classes=classes, aux_logits=True, transform_input=False, init_weights=False, dropout=0.0,
                                        dropout_aux=0.0)


def training_loss(output, labels):
    """GoogLeNet's auxiliary heads count 0.3 (Szegedy et al. 2015, section 5; torchvision's reference training)."""
    if isinstance(output, torch.Tensor):
        return nn.functional.cross_entropy(output, labels)
    main, first, second = (nn.functional.cross_entropy(logits, labels)
                           for logits in (output.logits, output.aux_logits1, output.aux_logits2))
    return main + 0.3 * first + 0.3 * second


def scatter(model, drawn_of, gamma, beta):
    """The rule of test_networks_golden.cpp. drawn_of[name]: normal values. gamma and beta: the means of batchnorm's weights and of all
    biases before the classifier."""
    for name, value in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        drawn = drawn_of[name]
        if value.dim() >= 2:
            gain = 2 if value.dim() == 4 else 1
            value.copy_(drawn * np.sqrt(np.float32(gain) / np.float32(value[0].numel())))
        elif name.endswith("running_var"):
            value.copy_(torch.exp(np.float32(0.3) * drawn))
        elif name.endswith("running_mean") or name.startswith("classifier."):
            value.copy_(np.float32(0.2) * drawn)
        elif name.endswith(".weight"):
            value.copy_(np.float32(gamma) * (1 + np.float32(0.2) * drawn))
        else:
            value.copy_(np.float32(beta) + np.float32(0.2) * drawn)


MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

# What makes it, its width, how many crops, and whether enlarged; the learning rate; means of gammas and biases for training.
NETWORKS = {
    "alexnet": (lambda: torchvision.models.alexnet(num_classes=CLASSES, dropout=0.0), 1.0, 16, True, 2e-4, (1.0, 0.0)),
    "alexnet_original": (lambda: alexnet_original(CLASSES), 1.0, 16, True, 2e-4, (1.0, 0.0)),
    "mobilenet_v2_lstm49": (lambda: MobileNetLstm(CLASSES, 0.35, 24, False), 0.35, 16, False, 0.004, (0.5, 1.0)),
    "mobilenet_v2_lstm1": (lambda: MobileNetLstm(CLASSES, 0.35, 24, True), 0.35, 16, False, 0.004, (0.5, 1.0)),
    "googlenet": (lambda: googlenet(CLASSES), 1.0, 8, False, 0.001, (0.5, 1.0)),
    "resnet18": (lambda: torchvision.models.resnet18(num_classes=CLASSES), 1.0, 8, False, 0.001, (0.5, 1.0)),
    "resnet50": (lambda: torchvision.models.resnet50(num_classes=CLASSES), 1.0, 8, False, 1e-4, (0.5, 1.0)),
    "vgg16": (lambda: torchvision.models.vgg16(num_classes=CLASSES, init_weights=False, dropout=0.0), 1.0, 4, False, 2e-4, (1.0, 0.0)),
    "vgg16_bn": (lambda: torchvision.models.vgg16_bn(num_classes=CLASSES, init_weights=False, dropout=0.0), 1.0, 4, False, 2e-4,
                 (0.5, 1.0)),
}


def make_network(name):
    make, width, images, enlarged, lr, training = NETWORKS[name]
    pixels, labels = crops()
    pixels, labels = pixels[:images], labels[:images] % CLASSES
    if enlarged:
        pixels = pixels.repeat(2, axis=1).repeat(2, axis=2)
    x = normalised(pixels, MEAN, STD)
    drawn = {key: normals(value.shape, 11, key) for key, value in make().state_dict().items() if not key.endswith("num_batches_tracked")}

    def scattered(gamma, beta):
        model = make()
        scatter(model, drawn, gamma, beta)
        return model

    logits = logits_of(scattered(1.0, 0.0), x)
    exact = logits_of(scattered(1.0, 0.0).double(), x.double())
    losses = losses_of(scattered(*training), x, labels, lr, STEPS, training_loss)
    exact_losses = losses_of(scattered(*training).double(), x.double(), labels, lr, STEPS, training_loss)
    result = {"width": width, "images": images, "enlarged": enlarged, "classes": CLASSES, "lr": lr, "gamma": training[0],
              "beta": training[1], "parameters": {key: list(value.shape) for key, value in drawn.items()},
              "logits": [[round(v, 8) for v in row] for row in logits.tolist()], "losses": [round(v, 8) for v in losses],
              "fp64_difference": {"logits_relative": float((logits - exact).abs().max() / exact.abs().max()),
                                  "losses": max(abs(a - b) for a, b in zip(losses, exact_losses))}}
    print(name, result["logits"][0], result["losses"], result["fp64_difference"])
    return result


def make_networks(names):
    path = GOLDEN / "networks.json"
    known = json.loads(path.read_text())["networks"] if path.exists() else {}
    networks = {name: make_network(name) if name in names else known[name] for name in NETWORKS if name in names or name in known}
    write(path.name, {"torch": torch.__version__, "torchvision": torchvision.__version__, "networks": networks})


def main():
    wanted = sys.argv[1:] or ["lstm", "networks"]
    torch.manual_seed(0)
    torch.set_num_threads(1)
    if "lstm" in wanted:
        make_lstm()
    names = list(NETWORKS) if "networks" in wanted else [name for name in wanted if name in NETWORKS]
    if names:
        make_networks(names)


if __name__ == "__main__":
    main()
