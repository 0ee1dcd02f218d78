#!/bin/sh
# Installs the named packages as root. haproxy comes with a service that nobody here wants: it is neither started
# now (policy-rc.d, for that one name) nor at the next boot, unless it was installed before.
set -eu
export DEBIAN_FRONTEND=noninteractive

policy=/usr/sbin/policy-rc.d
mark='# put here by Shunt set-up for the time of one apt-get'
brings_haproxy=
for package in "$@"; do
	if [ "$package" = haproxy ]; then brings_haproxy=yes; fi
done
if [ -n "$brings_haproxy" ]; then
	# An earlier run that was killed may have left it.
	if [ -e $policy ] && grep -qF "$mark" $policy; then rm -f $policy; fi
	if [ ! -e $policy ]; then
		trap 'rm -f $policy' EXIT
		trap 'exit 130' INT TERM HUP
		printf '#!/bin/sh\n%s\n[ "$1" != haproxy ] || exit 101\nexit 0\n' "$mark" >$policy
		chmod 755 $policy
	fi
fi

# A new machine is often still busy with its first unattended upgrade.
apt-get -o DPkg::Lock::Timeout=180 install --yes --no-install-recommends -- "$@"

if [ -n "$brings_haproxy" ]; then
	if [ -d /run/systemd/system ]; then
		systemctl disable --now haproxy.service
	elif command -v update-rc.d >/dev/null; then
		update-rc.d haproxy disable
	fi
fi
