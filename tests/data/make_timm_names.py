#!/usr/bin/env python3
"""Writes golden/timm_names.json: names and shapes of timm's networks that models/key_maps.cpp maps to torchvision's, by the names
that cutis has for the models. Needs timm (pip install timm); nothing is downloaded, since names need no trained weights.

Usage, in this folder: python make_timm_names.py"""

import json
from pathlib import Path

import timm

NETWORKS = {"mobilenet_v2": "mobilenetv2_100", "resnet18": "resnet18", "resnet50": "resnet50", "vgg16": "vgg16", "vgg16_bn": "vgg16_bn"}


def main():
    networks = {}
    for model, name in NETWORKS.items():
        state = timm.create_model(name, pretrained=False).state_dict()
        networks[model] = {key: list(value.shape) for key, value in state.items() if not key.endswith("num_batches_tracked")}
    lines = [f'  {json.dumps(model)}: {json.dumps(shapes, separators=(",", ":"))}' for model, shapes in networks.items()]
    text = f'{{"timm": {json.dumps(timm.__version__)}, "networks": {{\n' + ",\n".join(lines) + "\n}}\n"
    (Path(__file__).parent / "golden/timm_names.json").write_text(text)


if __name__ == "__main__":
    main()
