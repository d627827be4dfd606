
# A node that is started three times with the same disk: the plug is pulled after the first time, and the second time ends in good
# order. What was found and written is there each time, and the times between are told as missing.

history=/disk/history

# Only what has to be, in an order that no directory tells: a disk takes several modules.
for module in $(cat /etc/disk-modules); do
    [ ! -e "$module.xz" ] || unxz "$module.xz"
    insmod "$module" 2>/run/insmod.err || grep -q "File exists" /run/insmod.err || cat /run/insmod.err
done
mkdir /disk
within 10 mount -t ext4 /dev/vda /disk || fail "could not mount the disk"
boots=$(cat /disk/boots 2>/dev/null || echo 0)
boots=$((boots + 1))
echo "$boots" >/disk/boots

rows() {
    watchkeeper sql --socket "$socket" -o json "$1" || fail "watchkeeper sql failed"
}
# One row of losses for each time in between, of some length, and with this reason for the last.
absent() {
    rows "SELECT reason, seconds FROM losses WHERE class = 'all' AND seconds > 0 ORDER BY time_ns" >/run/losses.json
    cat /run/losses.json
    [ "$(wc -l </run/losses.json)" -eq "$1" ] || fail "$1 times without an agent are not told"
    tail -n 1 /run/losses.json | grep -q "$2" || fail "it is not told that $2"
    echo "vm: told: the agent did not run: $2"
}
# Every alert of the times before, by its id.
remembered() {
    watchkeeper alerts --socket "$socket" -o json >/run/alerts.json || fail "watchkeeper alerts failed"
    while read -r id; do
        grep -q "$id" /run/alerts.json || fail "alert $id of before is gone"
    done </disk/alerts
    for file in "$history"/*.damaged; do
        [ ! -e "$file" ] || fail "$file was set aside"
    done
    echo "vm: $(wc -l </disk/alerts) alerts of before are there"
}

start_agent --history-dir "$history"
case $boots in
1) ;;
2)
    absent 1 "the node was started anew without stopping it first"
    remembered
    ;;
3)
    absent 2 "it was stopped, and the node was started anew"
    remembered
    finish success
    ;;
esac

rows "SELECT coalesce(max(number), 0) AS number FROM alerts" >/run/before
actor demo || fail "the demonstration failed"
before=$(tr -dc 0-9 </run/before)
new="SELECT id FROM alerts WHERE rule = 'shell.injected' AND number > $before"
found() { rows "$new" >/run/new && [ -s /run/new ]; }
within 30 found || fail "no alert shell.injected within 30 s"
sed 's/.*"id": *"\([^"]*\)".*/\1/' /run/new >>/disk/alerts
sync
echo "vm: an alert is on disk"
if [ "$boots" -eq 2 ]; then
    stop_agent
    sync
else
    # Some more is seen, of which nobody knows whether it reaches the disk.
    actor demo || fail "the demonstration failed"
fi
finish success
