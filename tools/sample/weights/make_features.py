#!/usr/bin/env python3
"""Makes mobilenet_v2_imagenet_features.safetensors: the features of an ImageNet MobileNetV2, small enough to embed.

    make_features.py mobilenet_v2_imagenet.safetensors [mobilenet_v2_imagenet_features.safetensors]

The classifier is left out, convolution weights (four dimensions) become f16, everything else stays f32. Only the
standard library is used, so the file can be made again anywhere.
"""

import hashlib
import json
import os
import struct
import sys

INPUT_SHA256 = "451a41739f1bbd0baf1f43f41d3030f4c47e4263dbdd4640fbfe072a42957d4f"


def read(path):
    """Returns the file's metadata and its tensors as name -> (shape, f32 values), in the file's order."""
    with open(path, "rb") as file:
        data = file.read()
    digest = hashlib.sha256(data).hexdigest()
    if digest != INPUT_SHA256:
        sys.exit(f"{path}: SHA-256 is {digest}, expected {INPUT_SHA256}: this is not the file that was converted")
    (header_bytes,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + header_bytes])
    metadata = header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        assert entry["dtype"] == "F32", name
        begin, end = entry["data_offsets"]
        values = struct.unpack_from(f"<{(end - begin) // 4}f", data, 8 + header_bytes + begin)
        tensors[name] = (entry["shape"], values)
    return metadata, tensors


def rounding_error(shape, values):
    """Largest error of f16 rounding, relative to the largest weight of the same output channel."""
    per_channel = len(values) // shape[0]
    worst = 0.0
    for channel in range(shape[0]):
        weights = values[channel * per_channel : (channel + 1) * per_channel]
        rounded = struct.unpack(f"<{per_channel}e", struct.pack(f"<{per_channel}e", *weights))
        largest = max(map(abs, weights))
        if largest > 0:
            worst = max(worst, max(abs(a - b) for a, b in zip(weights, rounded)) / largest)
    return worst


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    here = os.path.dirname(os.path.abspath(__file__))
    out = sys.argv[2] if len(sys.argv) == 3 else os.path.join(here, "mobilenet_v2_imagenet_features.safetensors")
    source, tensors = read(sys.argv[1])

    header = {
        "__metadata__": {
            "format": "pt",
            "mean": source["mean"],
            "std": source["std"],
            "size": "224",
            "source": source["source"] + "; classifier removed, convolution weights rounded to f16",
            "license": "Apache-2.0",
        }
    }
    body = bytearray()
    worst = 0.0
    for name, (shape, values) in tensors.items():
        if not name.startswith("features."):
            continue
        half = len(shape) == 4
        width = 2 if half else 4
        assert len(body) % width == 0, f"{name} would not be aligned"
        begin = len(body)
        body += struct.pack(f"<{len(values)}{'e' if half else 'f'}", *values)
        header[name] = {"dtype": "F16" if half else "F32", "shape": shape, "data_offsets": [begin, len(body)]}
        if half:
            worst = max(worst, rounding_error(shape, values))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    data = struct.pack("<Q", len(text)) + text + bytes(body)
    with open(out, "wb") as file:
        file.write(data)
    print(f"{out}: {len(data)} bytes, {len(header) - 1} tensors, SHA-256 {hashlib.sha256(data).hexdigest()}")
    print(f"largest f16 rounding error, relative to the channel's largest weight: {worst:.2e}")


if __name__ == "__main__":
    main()
