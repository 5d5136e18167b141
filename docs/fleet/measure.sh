#!/bin/sh
# Tunes the host that it runs on: measure.sh FOLDER HOST [FLAG...]
#
# FOLDER is shared by all hosts and holds the binary, tritune. HOST names this one: what it finds goes to
# FOLDER/results/HOST, where no other host writes. The flags are those of `tritune tune`.
#
# Beside the results lies conditions.txt: what a reader of the figures may want to know and the figures do not tell.
set -eu
[ $# -ge 2 ] || { echo "usage: measure.sh FOLDER HOST [FLAG...]" >&2; exit 2; }
folder=$1 host=$2
shift 2
out=$folder/results/$host
mkdir -p "$out"

# The numbers of a list such as 0-3,8.
numbers() {
    echo "$1" | tr , '\n' | while IFS=- read -r first last; do seq "$first" "${last:-$first}"; done
}
# What files under /sys say of every CPU that this process may use: each answer once, and from how many CPUs.
of_each_cpu() {
    for cpu in $cpus; do cat "/sys/devices/system/cpu/cpu$cpu/$1" 2>/dev/null || echo unknown; done | sort | uniq -c
}
allowed=$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status)
cpus=$(numbers "$allowed")
count=$(echo "$cpus" | wc -l)
cores=$(of_each_cpu topology/thread_siblings_list | wc -l)
domains=$(for cpu in $cpus; do ls -d "/sys/devices/system/cpu/cpu$cpu/node"* 2>/dev/null; done |
    sed 's/.*node//' | sort -u)

{
    echo "host:       $host, $(date -u +%Y-%m-%dT%H:%M:%SZ), Linux $(uname -r)"
    echo "binary:     $(sha256sum "$folder/tritune" | cut -d' ' -f1)"
    echo "CPUs:       $allowed ($count, of $cores cores)"
    echo "NUMA nodes: $(echo "${domains:-unknown}" | paste -sd' ')"
    echo "governor:   $(of_each_cpu cpufreq/scaling_governor | sed 's/^ *\([0-9]*\) \(.*\)/\2 (\1 CPUs)/' | paste -sd,)"
    echo "load:       $(cut -d' ' -f1-3 /proc/loadavg) before"
} | tee "$out/conditions.txt"

# A quota without pinning: threads wander over the host and are stopped several times a second.
if read -r quota period 2>/dev/null </sys/fs/cgroup/cpu.max && [ "$quota" != max ] &&
    [ "$quota" -lt $((count * period)) ]; then
    echo "error: $host grants $quota µs of CPU time in $period µs on $count CPUs: a share of each; pin whole CPUs" >&2
    exit 1
fi
[ "$(echo "$domains" | wc -l)" -le 1 ] ||
    echo "warning: CPUs of several NUMA nodes: weights lie near some of them only" >&2

exec "$folder/tritune" tune "$@" --out "$out" --resume
