# The proxy, as a user of its own: what the service asks of others comes here.
set -eu
cat >/tmp/proxy.conf <<'END'
pid /tmp/proxy.pid;
error_log /dev/stderr;
daemon off;
events {}
http {
    access_log /dev/stdout;
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    server {
        listen 15001;
        location / { proxy_pass http://127.0.0.1:80; }
    }
    server {
        listen 15021;
        location /healthz/ready { return 200; }
    }
}
END
exec nginx -c /tmp/proxy.conf
