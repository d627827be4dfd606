# What Istio's init container does: looks at what is there, sets its chains at once, and shows the result.
set -eu
iptables-save >/dev/null
ip6tables-save >/dev/null
ip link set lo up
ip addr add 10.9.0.1/32 dev lo
ip route add local 10.9.1.0/24 dev lo
iptables-restore --noflush <<'END'
* nat
-N ISTIO_INBOUND
-N ISTIO_REDIRECT
-N ISTIO_IN_REDIRECT
-N ISTIO_OUTPUT
-A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A ISTIO_INBOUND -p tcp --dport 15020 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A OUTPUT -p tcp -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -d 10.9.1.0/24 -j ISTIO_REDIRECT
-A ISTIO_OUTPUT -j RETURN
COMMIT
END
iptables-save
iptables -t nat -L -n >/dev/null
iptables-legacy-save >/dev/null
