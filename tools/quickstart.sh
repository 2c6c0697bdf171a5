#!/usr/bin/env bash
# From a fresh clone to a trained classifier: installs what is missing, builds the program, fine-tunes MobileNetV2 on the
# embedded sample of HAM10000, judges it on images it has not seen and writes a report. A second run is quick.
# shellcheck source=tools/setup.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

sample=tools/sample/ham10000
weights=tools/sample/weights/mobilenet_v2_imagenet_features.safetensors
data=runs/sample_160.cutis
run=runs/quickstart

install_missing "${build_packages[@]}"
choose_compiler
if [ -e build/release/CMakeCache.txt ]; then
  configure release
else
  configure release -DCUTIS_TESTS=OFF -DCUTIS_BENCH=OFF  # tools/test.sh switches the tests on
fi
build release cutis
cutis=build/release/tools/cutis
# On a machine that others use too, threads that wait by spinning take the cores from those that compute: training can be
# twenty times as slow. Sleeping costs little.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

mkdir -p runs
if [ ! -e "$data" ]; then
  "$cutis" prepare --images "$sample/images" --metadata "$sample/HAM10000_metadata.csv" --size 160 --out "$data"
fi

if [ -e "$run/report.html" ]; then
  say "$run is trained already; remove it to train again"
elif [ -e "$run/checkpoint.safetensors" ]; then
  say "going on with $run where it stopped"
  "$cutis" train --resume --out "$run"
else
  # Fold 0 is the test, a tenth of the other folds picks the checkpoint.
  "$cutis" train --data "$data" --model mobilenet_v2 --init "$weights" --split-file "$sample/split.csv" --fold 0 \
    --epochs 20 --batch-size 16 --optimizer adamw --lr 0.0005 --weight-decay 0.02 --warmup 20 --label-smoothing 0.1 \
    --augment full --ema 0.98 --seed 1 --overwrite --out "$run"
fi
"$cutis" evaluate --run "$run" --data "$data" --split test
"$cutis" report --run "$run"
say "70 images of the sample are few and their classes evenly many: these figures say nothing about patients"
say "report: $root/$run/report.html"
