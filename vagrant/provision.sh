#!/bin/sh
# Makes a fresh Debian or Ubuntu box ready for `npm run demo` in /shunt; twice does no harm.
# SHUNT_KERNEL: the series that the box is meant to have. SHUNT_K3S=1: k3s too. SHUNT_FOLDER: the checkout.
set -eu
export DEBIAN_FRONTEND=noninteractive
folder=${SHUNT_FOLDER:-/shunt}

running=$(uname -r)
case $running in
"${SHUNT_KERNEL:-$running}"*) ;;
*) echo "provision: meant for Linux $SHUNT_KERNEL, and this is $running; going on" >&2 ;;
esac
major=${running%%.*}
rest=${running#*.}
minor=${rest%%[!0-9]*}
if [ "$major" -lt 5 ] || { [ "$major" -eq 5 ] && [ "$minor" -lt 7 ]; }; then
	echo "provision: Linux $running is older than 5.7, the first with the hooks of the eBPF backend" >&2
	exit 1
fi

# Set-up itself (npm run demo) installs the rest; it needs Node >= 20 and npm to start.
apt-get update -qq
apt-get install -qq --yes --no-install-recommends ca-certificates curl git rsync xz-utils >/dev/null
command -v npm >/dev/null || apt-get install -qq --yes --no-install-recommends nodejs npm >/dev/null
node_major() { node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0; }
if [ "$(node_major)" -lt 20 ]; then
	# Older releases carry an older Node; npm's own package of it is the one the project pins.
	npm install --global --no-audit --no-fund node@24
	hash -r
fi
if [ "$(node_major)" -lt 20 ]; then
	echo "provision: Node >= 20 is needed, and this is $(node --version)" >&2
	exit 1
fi

if [ "${SHUNT_K3S:-0}" = 1 ] && ! command -v k3s >/dev/null; then
	# Its own traefik and load balancer are of no use to a test of redirection.
	curl -sfL https://get.k3s.io | INSTALL_K3S_EXEC='--disable traefik --disable servicelb' sh -
	for _ in $(seq 60); do
		k3s kubectl get nodes 2>/dev/null | grep -q ' Ready' && break
		sleep 2
	done
	k3s kubectl get nodes
fi

cd "$folder"
node .ci/setup.mjs --for demo
echo "provision: ready; cd $folder && npm run demo"
