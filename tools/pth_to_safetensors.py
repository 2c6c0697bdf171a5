#!/usr/bin/env python3
"""Turns a PyTorch state dict (.pth, .pt, .bin) into safetensors, which cutis reads.

    python tools/pth_to_safetensors.py mobilenet_v2.pth mobilenet_v2.safetensors
    python tools/pth_to_safetensors.py checkpoint.pth out.safetensors --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5 --license Apache-2.0

Needs torch and safetensors (pip install torch safetensors). Loads tensors alone (weights_only): a file that would run code is refused.
A state dict may lie in the checkpoint under state_dict, model_state_dict, model or ema; "module." (DataParallel) and "_orig_mod."
(torch.compile) before all names go. Names and shapes stay PyTorch's; `cutis convert` knows torchvision's and timm's."""

import argparse
import os
import sys
import tempfile

WRAPPERS = ("state_dict", "model_state_dict", "model", "ema")
PREFIXES = ("module.", "_orig_mod.")


def fail(message):
    print(f"pth_to_safetensors: error: {message}", file=sys.stderr)
    sys.exit(1)


def numbers(text):
    """'0.5,0.5,0.5', as cutis wants it in a file's metadata."""
    if len([float(part) for part in text.split(",")]) != 3:
        raise ValueError(text)
    return text


def load(path, torch):
    if not os.path.isfile(path):
        fail(f"{path}: there is no such file; check the path")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds, with pages of text
        fail(f"{path}: torch finds no tensors in it, or objects beside them that would run code ({type(error).__name__}); "
             "save model.state_dict()")


def state_dict_of(content, path, torch):
    """The names and tensors, unwrapped."""
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not any(isinstance(value, torch.Tensor) for value in content.values()):
        fail(f"{path}: holds no state dict, but {type(content).__name__}; save model.state_dict()")
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in content):
            content = {name[len(prefix):]: value for name, value in content.items()}
    return content


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pth")
    parser.add_argument("out")
    parser.add_argument("--mean", type=numbers, help="r,g,b that the network was trained with, for the file's metadata")
    parser.add_argument("--std", type=numbers, help="likewise")
    parser.add_argument("--size", type=int, help="side of the input in pixels, likewise")
    parser.add_argument("--license", help="of the weights, likewise")
    parser.add_argument("--source", help="where they come from, likewise")
    arguments = parser.parse_args()
    try:
        import torch
        from safetensors.torch import save_file
    except ImportError as error:
        fail(f"{error}; pip install torch safetensors")

    state = state_dict_of(load(arguments.pth, torch), arguments.pth, torch)
    # num_batches_tracked says nothing about the network. Each tensor gets bytes of its own: safetensors refuses shared ones.
    tensors = {name: value.detach().contiguous().clone() for name, value in state.items()
               if isinstance(value, torch.Tensor) and not name.endswith("num_batches_tracked")}
    metadata = {"format": "pt"}
    for key in ("mean", "std", "size", "license", "source"):
        if getattr(arguments, key) is not None:
            metadata[key] = str(getattr(arguments, key))
    folder = os.path.dirname(os.path.abspath(arguments.out))
    try:
        handle, aside = tempfile.mkstemp(suffix=".safetensors", dir=folder)
        os.close(handle)
        try:
            save_file(tensors, aside, metadata)
            os.chmod(aside, 0o644)
            os.replace(aside, arguments.out)
        finally:
            if os.path.exists(aside):
                os.remove(aside)
    except Exception as error:  # the system's, and safetensors' own for a full disk
        fail(f"{arguments.out}: cannot be written: {error}")
    left = [name for name, value in state.items() if not isinstance(value, torch.Tensor)]
    print(f"{arguments.out}: {len(tensors)} tensors, {sum(t.numel() for t in tensors.values()):,} values"
          + (f"; left out, no tensors: {', '.join(map(str, left[:5]))}" if left else ""))


if __name__ == "__main__":
    main()
