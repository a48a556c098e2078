package test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/keyserver/api"
)

// A site on host certificates: ssh knows the host, and the key's policy names it,
// by the authority alone, whichever side holds the policy.
func TestKeyPolicyAuthority(t *testing.T) {
	for _, mode := range []api.KeyMode{api.FetchMode, api.SignMode} {
		for _, daemon := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, daemon %t", mode, daemon), func(t *testing.T) {
				s := newStranger(t)
				authority := s.sshd.certify(t, "forge")
				s.server.knows(t, "@cert-authority for* "+authority)
				set := func(hosts ...api.KeyHost) {
					t.Helper()
					if _, err := s.user.UpdateKey(t.Context(), api.Me, api.DefaultKey, api.UpdateKeyRequest{Mode: &mode, Hosts: &hosts}); err != nil {
						t.Fatal(err)
					}
				}
				by := api.KeyHost{Name: "f*", Fingerprint: fingerprintOf(t, authority), Authority: true}
				set(by)
				if daemon {
					s.StartDaemon(t)
				}
				s.Run(t, "git", "ls-remote", s.url())
				if mode == api.SignMode {
					signed := s.server.signatures(t, "ok")
					if len(signed) != 1 || signed[0].Signature == nil || signed[0].Signature.HostName != "forge" || !signed[0].Signature.Bound {
						t.Errorf("the audit log has the signatures %+v; want one bound to forge", signed)
					}
				}
				by.Name = "elsewhere"
				set(by)
				var out string
				await(t, "the policy has another name", func() bool {
					var err error
					out, err = s.Try(t, "git", "ls-remote", s.url())
					return err != nil
				})
				if want := "the key logs in to elsewhere only, not to the host with the key " + fingerprintOf(t, s.sshd.HostKey); !strings.Contains(out, want) {
					t.Errorf("git ls-remote of a host with a certificate for another name: want %q:\n%s", want, out)
				}
			})
		}
	}
}
