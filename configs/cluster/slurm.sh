#!/usr/bin/env bash
#SBATCH --job-name=graft
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=graft-%j.log
# Slurm, from Graft's folder on a file system that all nodes see. What stands above is only the default:
#
#   sbatch --nodes=4 --cpus-per-task=16 --gpus-per-node=2 configs/cluster/slurm.sh sweep configs/demo.yaml
#   sbatch configs/cluster/slurm.sh pretrain configs/pretrain_personas.yaml steps=20000
#
# sweep: a Ray over the nodes of this job, with a token of its own. pretrain: torchrun over them, no Ray.
# Two minutes before the time is up it saves and queues itself again; the same command goes on where it was.
# Variables: RUNS, EXPORTS, BIN (.venv/bin), PROCESSES (of pretrain, on each node), HEAD_ADDRESS (of this node,
# if its first one is not in the fast network). torch's own ports know no token: pretrain in a trusted network.
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"

BIN=${BIN:-.venv/bin}
RUNS=${RUNS:-runs}
EXPORTS=${EXPORTS:-exports}
CPUS=${SLURM_CPUS_PER_TASK:-1}
GPUS=${SLURM_GPUS_ON_NODE:-0}
PROCESSES=${PROCESSES:-$((GPUS > 0 ? GPUS : 1))}
NODES=$SLURM_JOB_NUM_NODES
HEAD_ADDRESS=${HEAD_ADDRESS:-$(hostname -I | cut -d ' ' -f 1)} # this script runs on the job's first node
PORT=$((10000 + 3 * (SLURM_JOB_ID % 6000)))                    # and the next two: jobs may share a node
verb=${1:-sweep}
shift || true

cluster=() # process ids of Ray
token=
# shellcheck disable=SC2317  # the trap below calls it
clean() {
  ((${#cluster[@]} == 0)) || kill "${cluster[@]}" 2> /dev/null || true
  [[ -z $token ]] || rm -f "$token"
}
trap clean EXIT

finish() { # wait for the work; when Slurm tells us that time is up, hand that on, and queue again
  local pid=$1 code=0 stopped=
  trap 'stopped=yes; kill -TERM "$pid" 2> /dev/null || true' TERM
  while kill -0 "$pid" 2> /dev/null; do # a signal ends a wait early
    wait "$pid" && code=0 || code=$?
  done
  [[ -z $stopped ]] || scontrol requeue "$SLURM_JOB_ID"
  exit "$code"
}

start_ray() {
  umask 077
  mkdir -p .graft
  token=$PWD/.graft/ray-token-$SLURM_JOB_ID
  "$BIN/python" -c "import secrets; print(secrets.token_hex(32), end='')" > "$token"
  export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$token RAY_USAGE_STATS_ENABLED=0
  local first
  first=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
  first=${first%%$'\n'*}
  srun --overlap --nodes=1 --ntasks=1 --nodelist="$first" \
    "$BIN/ray" start --head --block --disable-usage-stats --node-ip-address="$HEAD_ADDRESS" --port="$PORT" \
    --include-dashboard=false --ray-client-server-port="$((PORT + 2))" \
    --dashboard-agent-listen-port="$((PORT + 1))" \
    --num-cpus="$CPUS" --num-gpus="$GPUS" &
  cluster+=($!)
  if ((NODES > 1)); then
    srun --overlap --nodes="$((NODES - 1))" --ntasks="$((NODES - 1))" --exclude="$first" \
      "$BIN/ray" start --block --disable-usage-stats --address="$HEAD_ADDRESS:$PORT" \
      --dashboard-agent-listen-port="$((PORT + 1))" --num-cpus="$CPUS" --num-gpus="$GPUS" &
    cluster+=($!)
  fi
}

wait_for_ray() { # until every node has joined, at most five minutes
  local until=$((SECONDS + 300)) size=
  while ((SECONDS < until)); do
    size=$("$BIN/python" -m cluster.checks.joining "$HEAD_ADDRESS:$PORT" 2> /dev/null) || size=
    [[ $size != *"\"machines\": $NODES,"* ]] || return 0
    sleep 2
  done
  echo "error: Ray has not come up on $NODES nodes within 5 minutes (last seen: ${size:-nothing})" >&2
  exit 5
}

case $verb in
  sweep)
    config=${1:-configs/sweep_rssa.yaml}
    shift || true
    start_ray
    wait_for_ray
    RAY_ADDRESS="$HEAD_ADDRESS:$PORT" \
      "$BIN/python" -m pipeline.sweep "$config" --runs "$RUNS" --exports "$EXPORTS" "$@" &
    finish $!
    ;;
  pretrain)
    config=${1:-configs/pretrain_personas.yaml}
    shift || true
    export OMP_NUM_THREADS=$((CPUS / PROCESSES > 0 ? CPUS / PROCESSES : 1))
    # shellcheck disable=SC2016  # SLURM_NODEID is each node's own
    srun --nodes="$NODES" --ntasks="$NODES" bash -c 'exec "$0" --node-rank="$SLURM_NODEID" "$@"' \
      "$BIN/torchrun" --nnodes="$NODES" --nproc-per-node="$PROCESSES" --master-addr="$HEAD_ADDRESS" \
      --master-port="$PORT" -m pipeline pretrain "$config" --runs "$RUNS" --exports "$EXPORTS" "$@" &
    finish $!
    ;;
  *)
    echo "error: expected sweep or pretrain and a config, not '$verb'" >&2
    exit 2
    ;;
esac
