#!/bin/sh
# Installs the programs that the tests run, or says how to.
set -eu

missing=
want() { # want PACKAGE PROGRAM...: the Debian package of a program
	package=$1
	shift
	for program; do
		PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v "$program" >/dev/null 2>&1 || missing="$missing $package"
	done
}
want git git
want curl curl
want rsync rsync
want dropbear-bin dbclient
want vim-tiny vi
want openssh-client ssh ssh-agent ssh-add ssh-keygen
want openssh-server sshd
want gcc gcc # go test -race
want strace strace
want systemd systemd-analyze
want git-lfs git-lfs
want putty-tools plink pscp psftp puttygen
want openssl openssl
want zsh zsh
want fish fish
want gdb gdb
want softhsm2 softhsm2-util
want perl perl
[ -e /usr/lib/openssh/regress/test-exec.sh ] || missing="$missing openssh-tests" # for test/openssh/run.sh
/usr/bin/python3 -c 'import paramiko' 2>/dev/null || missing="$missing python3-paramiko"

[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	# shellcheck disable=SC2086 # a list of packages
	apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
	echo "The tests run these real programs, which are not here:$missing" >&2
	echo "On Debian: sudo apt-get install$missing" >&2
	exit 1
fi
