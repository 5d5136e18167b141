#!/usr/bin/env bash
# Tunes a node of every kind in a Slurm cluster, as a job array: slurm-array.sh FOLDER KIND,KIND... [FLAG...]
#
# Run it on a login node. FOLDER is seen by all nodes, and holds the binary, tritune, and measure.sh. A KIND is what
# `sbatch --constraint` takes: a feature of nodes (`sinfo --format='%D %c %b'` lists them), or several joined by &.
# The flags are those of `tritune tune`.
#SBATCH --job-name=tritune
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --time=01:00:00
#SBATCH --requeue
set -euo pipefail

if [ -n "${SLURM_ARRAY_TASK_ID-}" ]; then
    folder=$1
    shift 2
    # The cores and the memory of the first NUMA node; at full speed, where Slurm may set that.
    exec srun --cpu-bind=map_ldom:0 --mem-bind=local --cpu-freq=performance \
        sh "$folder/measure.sh" "$folder" "$SLURMD_NODENAME" "$@"
fi

[ $# -ge 2 ] || { echo "usage: slurm-array.sh FOLDER KIND,KIND... [FLAG...]" >&2; exit 2; }
folder=$(realpath "$1")
IFS=, read -ra kinds <<<"$2"
shift 2
mkdir -p "$folder/results"
# Held until every task has its kind of node: an array has one constraint, its tasks may each have their own.
job=$(sbatch --parsable --hold --array="0-$((${#kinds[@]} - 1))" --chdir="$folder" \
    --output="$folder/results/%A_%a.log" "$0" "$folder" "${kinds[*]}" "$@")
job=${job%%;*}
trap 'scancel "$job"' ERR
for task in "${!kinds[@]}"; do
    scontrol update JobId="${job}_$task" Features="${kinds[task]}"
done
scontrol release "$job"
echo "job $job: a task for each of ${kinds[*]}; squeue --job $job shows them, $folder/results their logs"
