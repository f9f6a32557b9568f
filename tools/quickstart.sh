#!/usr/bin/env bash
# From nothing to a report: bash tools/quickstart.sh
# Makes the environment (once), makes up fundus images in REFUGE's raw layout, prepares them, trains a
# small UML, tests it and writes an HTML report. About five minutes on two CPU cores after installation.
set -euo pipefail

. "$(dirname "${BASH_SOURCE[0]}")/make_environment.sh"
cd "$root"
config=configs/uml/uml-b8-aug_res2net_phantom-refuge-64x64.py
raw=data/phantoms/refuge_raw
work_dir=work_dirs/quickstart
started=$SECONDS

step() { printf '\n== %s (%d s)\n' "$*" "$((SECONDS - started))"; }

step "1/5 making up fundus images in REFUGE's raw layout: $raw"
"$PYTHON" prepare_dataset/make_phantoms.py refuge "$raw" --num-cases 280 --split-ratio 4 1 2 \
    --size 256 --glaucoma-share 0.5 --seed 0 --overwrite

step "2/5 preparing them: data/phantoms/refuge_64x64"
"$PYTHON" prepare_dataset/refuge.py "$raw" data/phantoms/refuge_64x64 --size 64 --overwrite

step "3/5 training $config"
# One process: the toolbox uses the GPU where there is one, else all CPU cores.
bash tools/dist_train.sh "$config" 1 --work-dir "$work_dir" --seed 0

step "4/5 testing"
checkpoint=$(cat "$work_dir/last_checkpoint")
bash tools/dist_test.sh "$config" "$checkpoint" 1 --work-dir "$work_dir/test" \
    --eval mIoU

step "5/5 the report"
bash tools/dist_test.sh "$config" "$checkpoint" 1 --work-dir "$work_dir/test" \
    --report --out "$work_dir/metrics.json"
"$PYTHON" - "$work_dir/metrics.json" <<'PY'
import json
import sys

metrics = json.load(open(sys.argv[1], encoding='utf-8'))
print()
print(f'disc (rim + cup) Dice on held-out images: {metrics["seg/Dice.disc"]:.3f}')
print(f'glaucoma AUC on held-out images:          {metrics["cls/AUC"]:.3f}')
PY
printf 'report: %s\n' "$(ls -d "$root/$work_dir"/test/*/report.html | tail -n 1)"
step "done"
