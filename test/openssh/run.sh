#!/bin/sh
# Runs OpenSSH's own regression tests of its ssh-agent (Debian: openssh-tests)
# against this tree's agent:
#
#	test/openssh/run.sh              all that say something about an agent
#	test/openssh/run.sh agent-restrict
#	SSHAGENT=/usr/bin/ssh-agent test/openssh/run.sh    theirs, to compare
#
# It takes some two minutes, most of which the tests sleep. The tests
# agent-getpeereid and agent-ptrace skip themselves unless they are run by a user
# who may use sudo (SUDO=sudo).
#
# Two things of the tests are left out, which this agent refuses on purpose: DSA
# keys, and signatures of RSA keys with SHA-1. So are security keys and PKCS#11
# (agent-pkcs11), which are an upstream agent's affair.
set -eu
cd "$(dirname "$0")/../.."

regress=/usr/lib/openssh/regress
[ -e $regress/test-exec.sh ] || { echo "$regress is not here: on Debian, apt-get install openssh-tests" >&2; exit 1; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cp -a $regress "$dir/regress"
if [ -z "${SSHAGENT:-}" ]; then
	SSHAGENT=$dir/ssh-agent
	CGO_ENABLED=0 go build -o "$SSHAGENT" ./test/sshagent
	rm -rf "$dir/regress/misc/sk-dummy"
	sed -i -e '/^SSH_KEYTYPES=\|^SSH_HOSTKEY_TYPES=/s/`$/ | grep -v ssh-dss`/' "$dir/regress/test-exec.sh"
	sed -i -e '/^SSH_CERTTYPES=/s/`$/ | grep -v -e ^ssh-rsa -e ^ssh-dss -e ^sk-`/' \
		-e 's/HostKeyAlgorithms\([ =]\)$k/HostKeyAlgorithms\1$(echo $k | sed s,^ssh-rsa$,rsa-sha2-512,)/' "$dir/regress/hostkey-agent.sh"
fi
[ $# -gt 0 ] || set -- agent agent-getpeereid agent-timeout agent-ptrace agent-subprocess agent-restrict hostkey-agent cert-file sshsig
[ "$(id -u)" != 0 ] || mkdir -p /run/sshd

USER=${USER:-$(id -un)}
BUILDDIR=$dir/regress TEST_SSH_SSHAGENT=$SSHAGENT TEST_SSH_SSH=ssh TEST_SSH_UNSAFE_PERMISSIONS=1 TEST_SHELL=sh SUDO=${SUDO:-}
export USER BUILDDIR TEST_SSH_SSHAGENT TEST_SSH_SSH TEST_SSH_UNSAFE_PERMISSIONS TEST_SHELL SUDO
failed=
for t; do
	if ! (cd "$dir/regress" && sh ./test-exec.sh "$dir/regress" "$dir/regress/$t.sh") </dev/null >"$dir/log" 2>&1; then
		failed="$failed $t"
		cat "$dir/log"
	fi
	tail -n 1 "$dir/log"
done
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
