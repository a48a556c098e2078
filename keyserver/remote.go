package keyserver

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/latchkey/latchkey/keyserver/api"
)

// remote is the address of the client: the peer's, or the one that trusted
// proxies say they forward for. The error is for a request that came in plain
// HTTP from where it must not; the address is set all the same.
func (s *Server) remote(r *http.Request) (string, error) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil { // not TCP
		return shown(r.RemoteAddr), errPlainHTTP()
	}
	client := peer.Addr().Unmap().WithZone("")
	if !s.trusts(client) {
		if r.TLS == nil && !client.IsLoopback() {
			return client.String(), errPlainHTTP()
		}
		return client.String(), nil
	}
	// Each proxy appends whom it heard from, so what stands left of the last
	// address that is not a trusted proxy's is only claimed.
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && s.trusts(client); i-- {
		hop, err := forwarded(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		client = hop.Unmap().WithZone("")
	}
	return client.String(), nil
}

// forwarded is one address of X-Forwarded-For; some proxies add the port.
func forwarded(hop string) (netip.Addr, error) {
	if a, err := netip.ParseAddrPort(hop); err == nil {
		return a.Addr(), nil
	}
	return netip.ParseAddr(hop)
}

func (s *Server) trusts(a netip.Addr) bool {
	for _, p := range s.proxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func errPlainHTTP() *api.Error {
	return refusal(api.ErrForbidden,
		"use https, or a proxy that the server was told to trust; a token that was sent in plain HTTP should be revoked",
		"plain HTTP is accepted from loopback and trusted proxies only")
}
