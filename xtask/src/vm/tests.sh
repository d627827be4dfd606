
# The tests of a machine: starts the agent, runs the demonstration beside it, looks at what came of it. Then the suite of signals,
# which starts an agent of its own.

start_agent --print-alerts

actor demo || fail "the demonstration failed"
for rule in shell.from-service shell.injected; do
    within 30 alerted "$rule" || {
        echo "--- alerts"
        cat /run/alerts.json /run/alerts.err
        fail "no alert $rule within 30 s"
    }
    echo "vm: alert $rule"
done
watchkeeper events --socket "$socket" -o json >/run/events.json || fail "watchkeeper events failed"
execs=$(grep -c EVENT_KIND_EXEC /run/events.json)
[ "$execs" -gt 0 ] || {
    head -n 20 /run/events.json
    fail "no exec among $(wc -l </run/events.json) events"
}
echo "vm: $execs exec events"

watchkeeper status --socket "$socket" || fail "watchkeeper status failed"
stop_agent

export WATCHKEEPER_BIN=/bin/watchkeeper WATCHKEEPER_ACTOR=/bin/actor WATCHKEEPER_PATIENCE=10
# Its first line has the name of the test before the signal.
suite signals:: --nocapture --test-threads=1 2>&1 | tee /run/suite.log | while read -r line; do
    case $line in
    "rule "*" pass" | "rule "*" fail "*) echo "vm: $line" ;;
    *"signal "*" pass" | *"signal "*" fail "* | *"signal "*" not-offered "*) echo "vm: signal ${line##*signal }" ;;
    esac
done
grep -q "^test result: ok" /run/suite.log || {
    tail -n 40 /run/suite.log
    finish "failure: not every signal is an event"
}
finish success
