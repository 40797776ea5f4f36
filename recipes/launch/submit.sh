#!/bin/sh
# A stage as a job of Slurm, which is waited for: its output is shown at the end, its exit code is this one's.
#
#     LAUNCH="sh recipes/launch/submit.sh --gpus=8 --cpus-per-task=16" SHELL=/bin/sh dvc repro
#
# Options of sbatch come first, then -m stages.NAME as DVC says it. START is what the job starts it with, by default python;
# START="accelerate launch --config_file recipes/accelerate/fsdp.yaml --num_processes 8" takes 8 GPUs.
set -u
options=
while [ "$#" -gt 0 ] && [ "$1" != "-m" ]; do
    options="$options $1"
    shift
done
log=$(mktemp ./.job-XXXXXX)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 (options are several words)
sbatch --wait --quiet --output="$log" $options --wrap "exec ${START:-python} $*" >&2
code=$?
cat "$log"
exit "$code"
