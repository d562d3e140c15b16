#!/bin/sh
# Installs Debian packages of servers without letting the servers run: the tests start their own, with files of their own.
#
# usage: install-idle.sh "UNIT..." PACKAGE...      as root; UNITs are systemd services that PACKAGEs may bring
set -eu
units=$1
shift

# Packages ask this program before they start a service (invoke-rc.d(8)); a machine that has one keeps it.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\n# Forbids starting.\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi

new=
for unit in $units; do
    # What is there already is somebody's, and stays as it is.
    [ -e "/lib/systemd/system/$unit.service" ] || new="$new $unit"
done

apt-get install --yes --no-install-recommends --no-remove "$@"

# Not at the next boot either. Without systemctl there is no systemd that could start them.
command -v systemctl > /dev/null || new=
for unit in $new; do
    [ -e "/lib/systemd/system/$unit.service" ] || continue
    systemctl --quiet disable "$unit.service"
    [ ! -d /run/systemd/system ] || systemctl stop "$unit.service"
done
