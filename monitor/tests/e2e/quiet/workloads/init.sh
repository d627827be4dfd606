# busybox's init, whose services are daemons, orphans, and programs of another user.
set -eu
echo 'root:x:0:0:root:/root:/bin/sh
www:x:33:33:www:/www:/bin/sh' >/etc/passwd
echo 'root:x:0:
www:x:33:' >/etc/group
mkdir -p /root
cat >/opt/boot <<'END'
#!/bin/sh
hostname
mkdir -p /run/lock
chmod 1777 /tmp
END
cat >/opt/services <<'END'
#!/bin/sh
set -eu
for worker in $(seq 20); do setsid sleep 0.2 & done
setsid sh -c '(sleep 1; /bin/true) & exit 0'
su -s /bin/sh www -c 'id; touch /tmp/by-www'
setpriv --nnp /bin/id
start-stop-daemon -S -b -m -p /run/worker -c www -x /bin/sleep -- 1000
start-stop-daemon -S -b -m -p /run/agent -x /bin/sleep -- 1000
sleep 2
start-stop-daemon -K -p /run/worker
wait
touch /outcome/finished
END
chmod 755 /opt/boot /opt/services
echo '::sysinit:/opt/boot
::respawn:/bin/httpd -f -p 127.0.0.1:8080 -h /www
::respawn:/bin/sleep 1
::once:/opt/services' >/etc/inittab
exec init
