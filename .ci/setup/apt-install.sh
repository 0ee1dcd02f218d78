#!/bin/sh
# Installs the named packages as root. Some come with a service that nobody here wants: it is neither started now
# (policy-rc.d, for those names) nor at the next boot, unless its package was installed before.
set -eu
export DEBIAN_FRONTEND=noninteractive

policy=/usr/sbin/policy-rc.d
mark='# put here by Shunt set-up for the time of one apt-get'
services=
for package in "$@"; do
	case $package in
	haproxy | nginx | redis-server | postgresql) services="$services $package" ;;
	nginx-light) services="$services nginx" ;;
	esac
done
if [ -n "$services" ]; then
	# An earlier run that was killed may have left it.
	if [ -e $policy ] && grep -qF "$mark" $policy; then rm -f $policy; fi
	if [ ! -e $policy ]; then
		trap 'rm -f $policy' EXIT
		trap 'exit 130' INT TERM HUP
		printf '#!/bin/sh\n%s\ncase " %s " in *" $1 "*) exit 101 ;; esac\nexit 0\n' "$mark" "$services" >$policy
		chmod 755 $policy
	fi
fi

# A new machine is often still busy with its first unattended upgrade.
apt-get -o DPkg::Lock::Timeout=180 install --yes --no-install-recommends -- "$@"

for service in $services; do
	if [ -d /run/systemd/system ]; then
		systemctl disable --now "$service.service"
	elif command -v update-rc.d >/dev/null; then
		update-rc.d "$service" disable
	fi
done
