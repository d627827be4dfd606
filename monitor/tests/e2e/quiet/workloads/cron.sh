# Debian's cron, whose jobs come from a mounted table: logs are rotated, old files removed, and the daily jobs of the packages run.
set -eu
mkdir -p /srv/spool
chown www-data /srv/spool
touch /srv/spool/1.old
echo line >/var/log/site.log
exec cron -f
