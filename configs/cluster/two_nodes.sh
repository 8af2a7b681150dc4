#!/usr/bin/env bash
# Two machines (or more) without a scheduler. Each has Graft in the same folder, with its .venv
# (make .venv/ready), and sees the folder RUNS. HEAD_ADDRESS is the first one's in the network that they share.
#
#   two_nodes.sh token                          once; copy .graft/ray-token to the other machine (mode 600)
#   HEAD_ADDRESS=10.0.0.1 two_nodes.sh head     on the first; Ctrl-C ends this Ray, and no other
#   HEAD_ADDRESS=10.0.0.1 two_nodes.sh worker   on the second
#   HEAD_ADDRESS=10.0.0.1 two_nodes.sh sweep [CONFIG] [key=value ...]       on the first, in another terminal
#
# One source model on both, without Ray: the same line on each, RANK 0 on the first and 1 on the second.
#
#   HEAD_ADDRESS=10.0.0.1 two_nodes.sh torchrun RANK [CONFIG] [key=value ...]
#   HEAD_ADDRESS=10.0.0.1 two_nodes.sh accelerate RANK [CONFIG] [key=value ...]    only with GPUs
#
# Variables: CPUS and GPUS that Ray may use here, PROCESSES of a training on each machine, THREADS of each,
# NODES, PORT, TRAIN_PORT, RUNS, EXPORTS, BIN, TOKEN_FILE, INTERFACE (where torch picks another network).
# Ray's ports ask for the token; torch's own (TRAIN_PORT, those of gloo and NCCL) know none: keep them inside.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

BIN=${BIN:-.venv/bin}
NODES=${NODES:-2}
CPUS=${CPUS:-$(nproc)}
GPUS=${GPUS:-0}
PROCESSES=${PROCESSES:-$((GPUS > 0 ? GPUS : 1))}
PORT=${PORT:-6379}
DASHBOARD_PORT=${DASHBOARD_PORT:-8265}
TRAIN_PORT=${TRAIN_PORT:-29500}
RUNS=${RUNS:-runs}
EXPORTS=${EXPORTS:-exports}
TOKEN_FILE=${TOKEN_FILE:-$PWD/.graft/ray-token}

export OMP_NUM_THREADS=${THREADS:-1}
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$TOKEN_FILE RAY_USAGE_STATS_ENABLED=0
if [[ -n ${INTERFACE:-} ]]; then
  export GLOO_SOCKET_IFNAME=$INTERFACE NCCL_SOCKET_IFNAME=$INTERFACE
fi

fail() {
  echo "error: $1" >&2
  exit 2
}

needs() { # a token, and the address of the first machine
  [[ -n ${HEAD_ADDRESS:-} ]] || fail "HEAD_ADDRESS is not set; it is the first machine's in the shared network"
  [[ $1 != token || -s $TOKEN_FILE ]] || fail "$TOKEN_FILE: no token; '$0 token' makes one; copy it here"
}

verb=${1:-}
shift || true
case $verb in
  token)
    [[ ! -e $TOKEN_FILE ]] || fail "$TOKEN_FILE: there already; running clusters would not know another one"
    umask 077
    mkdir -p "$(dirname "$TOKEN_FILE")"
    "$BIN/python" -c "import secrets; print(secrets.token_hex(32), end='')" > "$TOKEN_FILE"
    echo "$TOKEN_FILE"
    ;;
  head)
    needs token
    if [[ $HEAD_ADDRESS == 127.* ]]; then # to try it out: Ray keeps to loopback, and takes no second node
      export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0
    fi
    exec "$BIN/ray" start --head --block --disable-usage-stats \
      --node-ip-address="$HEAD_ADDRESS" --port="$PORT" --num-cpus="$CPUS" --num-gpus="$GPUS" \
      --dashboard-host=127.0.0.1 --dashboard-port="$DASHBOARD_PORT" "$@"
    ;;
  worker)
    needs token
    exec "$BIN/ray" start --block --disable-usage-stats \
      --address="$HEAD_ADDRESS:$PORT" --num-cpus="$CPUS" --num-gpus="$GPUS" "$@"
    ;;
  sweep)
    needs token
    config=${1:-configs/sweep_rssa.yaml}
    shift || true
    RAY_ADDRESS="$HEAD_ADDRESS:$PORT" \
      exec "$BIN/python" -m pipeline.sweep "$config" --runs "$RUNS" --exports "$EXPORTS" "$@"
    ;;
  torchrun | accelerate)
    needs network
    rank=${1:-}
    [[ $rank =~ ^[0-9]+$ ]] || fail "expected '$0 $verb RANK [CONFIG]', RANK 0 on the first machine"
    config=${2:-configs/pretrain_personas.yaml}
    shift "$(($# < 2 ? $# : 2))"
    if [[ $verb == torchrun ]]; then
      launch=("$BIN/torchrun" --nnodes="$NODES" --node-rank="$rank" --nproc-per-node="$PROCESSES"
        --master-addr="$HEAD_ADDRESS" --master-port="$TRAIN_PORT")
    else # on CPUs it would start one process, and say nothing
      ((GPUS > 0)) || fail "GPUS is 0; on machines without GPUs take torchrun"
      launch=("$BIN/accelerate" launch --multi_gpu --num_machines "$NODES" --machine_rank "$rank"
        --num_processes "$((NODES * PROCESSES))" --main_process_ip "$HEAD_ADDRESS"
        --main_process_port "$TRAIN_PORT" --mixed_precision no --dynamo_backend no)
    fi
    exec "${launch[@]}" -m pipeline pretrain "$config" --runs "$RUNS" --exports "$EXPORTS" "$@"
    ;;
  *) fail "expected one of token, head, worker, sweep, torchrun, accelerate; the head of $0 explains them" ;;
esac
