#!/bin/busybox sh
# Process 1 of a test machine, its first part: brings up what a node has, and what the tests after it are written with.
# Lines that start with `vm:` are for the harness; the last one is the verdict.

export PATH=/bin
state=/run/watchkeeper
socket=$state/watchkeeper.sock

finish() {
    echo "vm: $1"
    # The console is drained before the machine is gone.
    sleep 1
    poweroff -f
}

# What is known, to the console (the harness keeps it in a log), then the verdict.
fail() {
    echo "--- agent, standard error"
    tail -n 60 /run/agent.err
    echo "--- agent, standard output"
    tail -n 20 /run/agent.out
    echo "--- kernel"
    dmesg | tail -n 25
    finish "failure: $1"
}

# Tries a command once a second.
within() {
    seconds=$1
    shift
    while [ "$seconds" -gt 0 ]; do
        "$@" && return 0
        seconds=$((seconds - 1))
        sleep 1
    done
    return 1
}

running() { kill -0 "$agent" 2>/dev/null; }
ready_or_gone() { grep -q ready /run/agent.err || ! running; }
alerted() {
    watchkeeper alerts --socket "$socket" -o json >/run/alerts.json 2>/run/alerts.err &&
        grep -q "\"ruleId\": *\"$1\"" /run/alerts.json
}

start_agent() {
    watchkeeper agent --state-dir "$state" --cri-socket none "$@" >/run/agent.out 2>/run/agent.err &
    agent=$!
    within 90 ready_or_gone || fail "the agent was not ready within 90 s"
    running || fail "the agent ended before it was ready"
    echo "vm: agent ready"
}
stop_agent() {
    kill -TERM "$agent"
    wait "$agent"
    code=$?
    [ "$code" -eq 0 ] || fail "the agent ended with $code after SIGTERM"
    [ ! -e "$socket" ] || fail "the agent left its socket behind"
}

/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup || fail "could not mount cgroup2"
mount -t tracefs tracefs /sys/kernel/tracing || fail "could not mount tracefs"
mount -t bpf bpf /sys/fs/bpf || fail "could not mount the bpf file system"
# Newer kernels have them compressed, which this insmod does not undo.
for module in /lib/modules/*.xz; do
    [ ! -e "$module" ] || unxz "$module"
done
for module in /lib/modules/*.ko; do
    # That one is for the suite to load.
    [ "$module" != /lib/modules/dummy.ko ] || continue
    [ ! -e "$module" ] || insmod "$module" || echo "could not load $module"
done
# In force without enforcement: what is denied is told, and goes on.
mount -t selinuxfs selinuxfs /sys/fs/selinux || fail "could not mount selinuxfs"
cat /etc/selinux.policy >/sys/fs/selinux/load || fail "the kernel did not take the policy"
ip link set lo up
: >/run/agent.err
: >/run/agent.out
echo "vm: booted $(uname -r)"
