#!/usr/bin/env bash
#SBATCH --job-name=rcnn-dist
#SBATCH --nodes=4
#SBATCH --exclusive
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=1
#SBATCH --mem=64G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=%x-%j.log
#
# sbatch deploy/slurm.sh voc2007.yaml --set data.root=/shared/VOCdevkit --set run.dir=/shared/runs/voc2007
#
# One Ray cluster for the length of the job, one node of it per Slurm node; the arguments are those of `rcnn-dist run`. data.root, run.dir and
# the environment (RCNN_DIST_BIN, by default the .venv of the folder that the job is submitted from) lie where all nodes reach them.
# A job that was requeued or submitted again goes on where it ended.
set -euo pipefail

bin="${RCNN_DIST_BIN:-$SLURM_SUBMIT_DIR/.venv/bin}"
port=$((20000 + SLURM_JOB_ID % 20000))
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')

# A token of this job alone: another user of these nodes cannot reach the cluster.
umask 077
token=$(mktemp "$SLURM_SUBMIT_DIR/.ray-token-XXXXXX")
trap 'rm -f "$token"' EXIT
head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$token"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$token" RAY_USAGE_STATS_ENABLED=0
export RAY_TMPDIR="/tmp/ray-$SLURM_JOB_ID"  # short: the paths of Ray's sockets have a limit
export PATH="$bin:$PATH"

srun mkdir -p "$RAY_TMPDIR"
RAY_ADDRESS="$address:$port" srun --kill-on-bad-exit=0 ray symmetric-run --address "$address:$port" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus "$SLURM_CPUS_PER_TASK" --num-gpus "${SLURM_GPUS_ON_NODE:-0}" --object-store-memory 500000000 \
    -- rcnn-dist run "$@"
