#!/bin/sh
# A stage as a job of Slurm, which is waited for: its output is shown at the end, its exit code is this one's. Stopped by
# Ctrl-C or SIGTERM, it cancels the job, which then keeps its state like any other run that is stopped.
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
job=$(mktemp ./.job-XXXXXX)
trap 'rm -f "$log" "$job"' EXIT
# The job's number, which a cluster's name may follow, is written as soon as it is queued, since lines are not held back.
trap 'scancel "$(cut -d ";" -f 1 "$job")"' INT TERM HUP
# shellcheck disable=SC2086 (options are several words)
stdbuf -oL sbatch --wait --parsable --output="$log" $options --wrap "exec ${START:-python} $*" > "$job" &
wait "$!"
code=$?
# A signal ends the first wait; the job is waited for until it has kept its state.
wait "$!"
last=$?
[ "$last" -eq 127 ] || code=$last
cat "$log"
exit "$code"
