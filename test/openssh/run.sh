#!/bin/sh
# Runs OpenSSH's own regression tests of its ssh-agent (Debian: openssh-tests)
# against this tree's agent:
#
#	test/openssh/run.sh                            all that say something about an agent
#	test/openssh/run.sh agent-restrict
#	THROUGH=1 test/openssh/run.sh                  OpenSSH's agent, reached through this tree's
#	SSHAGENT=/usr/bin/ssh-agent test/openssh/run.sh    OpenSSH's alone, to compare
#
# A test that skips itself fails here. So that none does, agent-ptrace and
# agent-getpeereid are run, where root runs them, as an ordinary user, with what
# they want of sudo. Neither would see all that it looks for:
#
# * agent-ptrace puts a setgid bit on the agent, with which the kernel keeps
#   debuggers away, whatever the agent does; here it does not;
# * agent-getpeereid leaves it to the socket's mode to keep the other user away,
#   so agent-getpeereid-open is the same, but the socket is everyone's.
#
# Two things are left out, which this agent refuses on purpose: DSA keys, and
# signatures of RSA keys with SHA-1. So are security keys and smartcards
# (agent-pkcs11), which are an upstream agent's affair. With THROUGH nothing is.
set -eu
cd "$(dirname "$0")/../.."

regress=/usr/lib/openssh/regress
[ -e $regress/test-exec.sh ] || { echo "$regress is not here: on Debian, apt-get install openssh-tests" >&2; exit 1; }
PATH=$PATH:/usr/sbin
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT # which ends agents that a test has left behind
trap 'exit 1' INT TERM
chmod 755 "$dir"
cp -a $regress "$dir/regress"
mkdir -m 700 "$dir/tmp" # of agents' sockets
mkdir "$dir/bin"

tests="agent agent-getpeereid agent-getpeereid-open agent-timeout agent-ptrace agent-subprocess agent-restrict hostkey-agent cert-file sshsig"
if [ -z "${SSHAGENT:-}" ]; then
	SSHAGENT=$dir/bin/ssh-agent
	if [ -n "${PROGRAM:-}" ]; then # that somebody has built
		cp "$PROGRAM" "$SSHAGENT"
	else
		CGO_ENABLED=0 GOEXPERIMENT=runtimesecret go build -o "$SSHAGENT" ./test/sshagent
	fi
	if [ -z "${THROUGH:-}" ]; then
		rm -rf "$dir/regress/misc/sk-dummy"
		sed -i -e '/^SSH_KEYTYPES=\|^SSH_HOSTKEY_TYPES=/s/`$/ | grep -v ssh-dss`/' "$dir/regress/test-exec.sh"
		sed -i -e '/^SSH_CERTTYPES=/s/`$/ | grep -v -e ^ssh-rsa -e ^ssh-dss -e ^sk-`/' \
			-e 's/HostKeyAlgorithms\([ =]\)$k/HostKeyAlgorithms\1$(echo $k | sed s,^ssh-rsa$,rsa-sha2-512,)/' "$dir/regress/hostkey-agent.sh"
	else
		SSHAGENT_THROUGH=$(command -v ssh-agent)
		export SSHAGENT_THROUGH
		tests="$tests agent-pkcs11"
	fi
else
	tests="$tests agent-pkcs11"
fi
# ssh-add ends with 1 also when it was hung up on, if SIGPIPE has not ended it.
sed -e 's/chmod 644 ${SSH_AUTH_SOCK}/chmod 666 ${SSH_AUTH_SOCK}/' \
	-e 's/if \[ $r -lt 2 \]/if [ $r -lt 2 ] \&\& ! grep -q "communication with agent failed" $OBJ\/ssh-add.log/' \
	"$dir/regress/agent-getpeereid.sh" >"$dir/regress/agent-getpeereid-open.sh"
# shellcheck disable=SC2086 # a list of names
[ $# -gt 0 ] || set -- $tests
[ "$(id -u)" != 0 ] || mkdir -p /run/sshd

# What agent-getpeereid wants of sudo: to be another user.
cat >"$dir/bin/sudo" <<'SUDO'
#!/bin/sh
user=
while :; do
	case $1 in
	-u) user=$2; shift 2 ;;
	-*) shift ;;
	*) break ;;
	esac
done
[ -z "$user" ] || set -- setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups --inh-caps=-all --ambient-caps=-all -- "$@"
exec "$@"
SUDO
chmod 755 "$dir/bin/sudo"

BUILDDIR=$dir/regress TMPDIR=$dir/tmp TEST_SSH_SSHAGENT=$SSHAGENT TEST_SSH_SSH=ssh TEST_SSH_UNSAFE_PERMISSIONS=1 TEST_SHELL=sh SUDO=
export BUILDDIR TMPDIR TEST_SSH_SSHAGENT TEST_SSH_SSH TEST_SSH_UNSAFE_PERMISSIONS TEST_SHELL SUDO

run() { # run NAME: a test, as who it wants to be
	script="$dir/regress/$1.sh"
	set -- sh ./test-exec.sh "$dir/regress" "$script"
	user='' caps=''
	case $script in
	*/agent-getpeereid*.sh)
		SUDO=sudo PATH=$dir/bin:$PATH
		user=daemon caps='--inh-caps=+setuid,+setgid --ambient-caps=+setuid,+setgid' ;;
	*/agent-ptrace.sh)
		SUDO=true # instead of making the agent setgid
		user=daemon ;;
	esac
	if [ -n "$user" ] && [ "$(id -u)" = 0 ]; then
		chown -R $user "$dir/regress" "$dir/tmp"
		# shellcheck disable=SC2086 # options, or none
		set -- setpriv --reuid $user --regid "$(id -g $user)" --clear-groups $caps -- "$@"
	fi
	(cd "$dir/regress" && "$@")
}

failed=
for t; do
	if ! (run "$t") </dev/null >"$dir/log" 2>&1 || grep -i '^skipped' "$dir/log" || ! grep -q '^ok ' "$dir/log"; then
		failed="$failed $t"
		cat "$dir/log"
	fi
	tail -n 1 "$dir/log"
	# An agent that is on its way out may remove its files meanwhile.
	[ "$(id -u)" != 0 ] || chown -R root "$dir/regress" "$dir/tmp" 2>/dev/null || :
done
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
