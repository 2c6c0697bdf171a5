#!/usr/bin/env python3
"""Holds tools/pth_to_safetensors.py to what it says: state dicts plain and wrapped become the same tensors, which cutis loads; what is no
state dict, or would run code, is refused in one line.

Usage: check_pth.py CUTIS   Leaves with 77 where Python lacks torch or safetensors."""

import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file
except ImportError as missing:
    print(f"skipped: {missing}; pip install torch safetensors")
    sys.exit(77)

SCRIPT = Path(__file__).resolve().parents[2] / "tools/pth_to_safetensors.py"


def run(*arguments):
    return subprocess.run([str(a) for a in arguments], capture_output=True, text=True)


def convert(*arguments):
    return run(sys.executable, SCRIPT, *arguments)


def main():
    cutis = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="cutis_pth_") as name:
        folder = Path(name) / "Gewichte"
        folder.mkdir()
        start, pth, out = folder / "start.safetensors", folder / "netz.pth", folder / "aus.safetensors"
        network = ["--model", "mobilenet_v2", "--width", "0.1"]
        assert run(cutis, "convert", *network, "--classes", "5", "--out", start).returncode == 0
        state = load_file(start)
        transposed = {key: value.transpose(0, -1).contiguous().transpose(0, -1) for key, value in state.items()}  # not contiguous
        counted = {**state, "features.0.1.num_batches_tracked": torch.tensor(3)}
        for content in (state, transposed, counted, {"state_dict": {"module." + key: value for key, value in state.items()}, "epoch": 3},
                        {"model": state, "optimizer": {}}, {"_orig_mod." + key: value for key, value in state.items()}):
            torch.save(content, pth)
            done = convert(pth, out, "--mean", "0.1,0.2,0.3", "--std", "1,1,1", "--size", "96", "--license", "CC0-1.0", "--source", "here")
            assert done.returncode == 0 and "262 tensors" in done.stdout, done
            written = load_file(out)
            assert written.keys() == state.keys() and all(torch.equal(written[key], state[key]) for key in state)
            with safe_open(out, "pt") as file:
                assert file.metadata() == {"format": "pt", "mean": "0.1,0.2,0.3", "std": "1,1,1", "size": "96", "license": "CC0-1.0",
                                           "source": "here"}, file.metadata()
        loaded = run(cutis, "convert", *network, "--weights", out, "--out", folder / "again.safetensors")
        assert "matched: 262 tensors\nre-initialised: none\nleft over: none\n" in loaded.stdout, loaded

        out.unlink()
        for content, said in ((torch.nn.Linear(2, 2), "would run code"), ([1, 2], "no state dict, but list"), ({"a": 1}, "no state dict")):
            torch.save(content, pth)
            refused = convert(pth, out)
            assert refused.returncode == 1 and said in refused.stderr and refused.stderr.count("\n") == 1, refused
        pth.write_text("no such thing")
        torch.save(state, folder / "good.pth")
        for arguments, said in (((pth, out), "netz.pth"), ((folder / "none.pth", out), "no such file"),
                                ((folder / "good.pth", folder / "none/out.safetensors"), "cannot be written")):
            refused = convert(*arguments)
            assert refused.returncode == 1 and said in refused.stderr and refused.stderr.count("\n") == 1, refused
        assert convert(folder / "good.pth", out, "--mean", "1,2").returncode == 2
        assert sorted(path.name for path in folder.iterdir()) == ["again.safetensors", "good.pth", "netz.pth", "start.safetensors"]
    print("state dicts become safetensors as they should")


if __name__ == "__main__":
    main()
