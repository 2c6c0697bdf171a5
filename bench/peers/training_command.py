"""How our side of a training step is started: bench_train --serve, or another command of that form."""

DEFAULT = "{program} --serve {model} {batch} {size} {threads} --device {device} --precision {precision}"


def add_options(parser):
    parser.add_argument("program", help="bench_train of a build")
    parser.add_argument("--models", default="mobilenet_v2", help="comma-separated")
    parser.add_argument("--shapes", help="BATCHxSIZE, comma-separated; default 16x224,32x96 on a CPU, 256x224 on a GPU")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--precision", choices=("fp32", "bf16"), help="default fp32 on a CPU, bf16 on a GPU")
    parser.add_argument("--command", default=DEFAULT, help="how our side is started (default: %(default)s)")


def settle(options, shapes):
    """Fills what depends on other flags."""
    on_gpu = options.device == "cuda"
    options.precision = options.precision or ("bf16" if on_gpu else "fp32")
    options.shapes = shapes(options.shapes or ("2x32" if options.smoke else "256x224" if on_gpu else "16x224,32x96"))
    options.rounds = 1 if options.smoke else options.rounds


def words(options, model, batch, size):
    return [word.format(program=options.program, model=model, batch=batch, size=size, threads=options.threads,
                        device=options.device, precision=options.precision) for word in options.command.split()]
