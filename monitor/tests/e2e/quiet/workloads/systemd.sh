# Run by systemd: what timers, administrators' units and packages have it do.
set -eu
say() { echo "$@" >>/outcome/log; }
for unit in nginx cron rsyslog postgresql@15-main; do
    systemctl is-active --quiet $unit || { say "$unit is not active"; exit 1; }
done
systemctl start logrotate.service systemd-tmpfiles-clean.service dpkg-db-backup.service
systemctl reload nginx
systemctl restart rsyslog
systemctl restart postgresql@15-main
systemd-run --quiet --wait --uid www-data /usr/bin/id
systemd-run --quiet --on-active 1 /usr/bin/touch /run/by-timer
for request in $(seq 200); do
    curl --fail --silent --output /dev/null http://127.0.0.1/
    logger --tag shop "request $request"
done
until [ -e /run/by-timer ]; do sleep 0.1; done
journalctl --quiet --lines 5 >/dev/null
systemctl daemon-reload
touch /outcome/finished
