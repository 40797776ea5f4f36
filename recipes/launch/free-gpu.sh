#!/bin/sh
# Run a command on a GPU that no other such command has, as soon as there is one:
#
#     LAUNCH="sh recipes/launch/free-gpu.sh python" SHELL=/bin/sh dvc queue start --jobs 4
#
# GPUS names those to choose from, "0 1 2 3"; else all that nvidia-smi lists.
set -eu
locks="${TMPDIR:-/tmp}/free-gpu-$(id -u)"
mkdir -p "$locks"
GPUS="${GPUS:-$(nvidia-smi --query-gpu=index --format=csv,noheader)}"
while :; do
    for gpu in $GPUS; do
        # The command inherits the lock, which ends with it.
        exec 9> "$locks/$gpu"
        if flock --nonblock 9; then
            export CUDA_VISIBLE_DEVICES="$gpu"
            exec "$@"
        fi
    done
    sleep 1
done
