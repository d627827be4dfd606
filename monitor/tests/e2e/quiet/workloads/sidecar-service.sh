# A service and its clients, which ask another service by an address that only the proxy knows what to do with.
set -eu
nginx
until curl --fail --silent --output /dev/null http://127.0.0.1:15021/healthz/ready; do sleep 0.2; done
for request in $(seq 300); do curl --fail --silent --output /dev/null http://10.9.1.2:9080/; done
touch /outcome/finished
exec sleep 1000
