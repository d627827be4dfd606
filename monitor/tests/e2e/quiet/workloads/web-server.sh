# nginx with two clients; its logs are rotated under load, and it opens them again.
set -eu
page=http://127.0.0.1/index.nginx-debian.html
nginx
until curl --fail --silent --output /dev/null $page; do sleep 0.1; done
ab -q -c 4 -t 20 -n 1000000 $page >/dev/null &
ab -q -k -c 2 -t 20 -n 1000000 $page >/dev/null &
log=/var/log/nginx/access.log
for turn in 1 2 3; do
    sleep 5
    logrotate --force /etc/logrotate.d/nginx
    until [ -s $log ]; do sleep 0.1; done
done
[ -s $log.1 ]
nginx -t
nginx -s reload
wait
nginx -s quit
touch /outcome/finished
