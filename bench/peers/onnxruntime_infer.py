#!/usr/bin/env python3
"""A network's answer by cutis and, exported to ONNX, by onnxruntime, taking turns on the same device.

usage: bench/peers/onnxruntime_infer.py [options] build/release/bench/bench_inference

fp32, evaluation mode, the same number of threads; onnxruntime folds batchnorms and fuses as it does by default. Needs numpy
and onnxruntime; --device cuda wants an onnxruntime with CUDA, and keeps input and output in the GPU's memory."""
import argparse
import pathlib
import subprocess
import sys
import tempfile
import time

import turns


def exporter(program):
    """cutis of the same build, or beside the program."""
    folder = pathlib.Path(program).resolve().parent
    for path in (folder / "cutis", folder.parent / "tools/cutis"):
        if path.is_file():
            return path
    sys.exit(f"{program}: cutis, which exports the networks, is neither beside it nor in its build; build it first")


class OnnxRuntime:
    def __init__(self, path, batch, size, threads, device):
        import numpy
        import onnxruntime

        choices = onnxruntime.SessionOptions()
        choices.intra_op_num_threads, choices.inter_op_num_threads = threads, 1
        choices.log_severity_level = 3
        provider = "CUDAExecutionProvider" if device == "cuda" else "CPUExecutionProvider"
        self.session = onnxruntime.InferenceSession(str(path), choices, providers=[provider])
        if self.session.get_providers()[0] != provider:
            print(f"skipped: onnxruntime has no {provider} here")
            sys.exit(turns.SKIPPED)
        self.binding = self.session.io_binding()
        images = numpy.random.default_rng(1).standard_normal((batch, 3, size, size), dtype=numpy.float32)
        place = ("cuda", 0) if device == "cuda" else ("cpu", 0)
        self.binding.bind_ortvalue_input("images", onnxruntime.OrtValue.ortvalue_from_numpy(images, *place))
        self.binding.bind_output("logits", *place)

    def measure(self):
        begin = time.perf_counter()
        self.session.run_with_iobinding(self.binding)
        self.binding.synchronize_outputs()
        return (time.perf_counter() - begin) * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="bench_inference of a build")
    parser.add_argument("--models", default="mobilenet_v2,mobilenet_v2_lstm49,alexnet,resnet18", help="comma-separated")
    parser.add_argument("--shapes", help="BATCHxSIZE, comma-separated; default 1x224,32x224")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--device-name", help="as it is to stand in the results; default: the CPU's")
    turns.add_options(parser, rounds=25)
    options = parser.parse_args()
    turns.need("numpy", "onnxruntime")
    import onnxruntime

    shapes = turns.shapes(options.shapes or ("2x32" if options.smoke else "1x224,32x224"))
    models = ["mobilenet_v2"] if options.smoke else options.models.split(",")
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            for batch, size in shapes:
                path = pathlib.Path(folder, f"{model}_{size}.onnx")
                subprocess.run([exporter(options.program), "convert", "--model", model, "--classes", "7", "--size", str(size),
                                "--onnx", path], check=True, stdout=subprocess.DEVNULL)
                theirs = OnnxRuntime(path, batch, size, options.threads, options.device)
                with turns.Served(options.program, "--serve", model, batch, size, options.threads,
                                  "--device", options.device) as ours:
                    times = turns.take_turns({"cutis": ours.measure, "onnxruntime": theirs.measure},
                                             1 if options.smoke else options.rounds, warm_up=1 if options.smoke else 3)
                cases.append(turns.case(f"inference/{model}/fp32/{size}px/n{batch}", times["cutis"], times["onnxruntime"], images=batch))
    turns.report(f"onnxruntime {onnxruntime.__version__}", options.device_name or turns.processor(), options.threads, cases,
                 options.json, options.smoke)


if __name__ == "__main__":
    main()
