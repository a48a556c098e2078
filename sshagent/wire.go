package sshagent

import (
	"encoding/binary"
	"strconv"
)

// Message numbers (RFC 9987, section 8.1).
const (
	agentFailure            = 5
	agentSuccess            = 6
	agentRemoveAllV1        = 9 // of SSH 1: SSH_AGENTC_REMOVE_ALL_RSA_IDENTITIES
	agentRequestIdentities  = 11
	agentIdentitiesAnswer   = 12
	agentSignRequest        = 13
	agentSignResponse       = 14
	agentAddIdentity        = 17
	agentRemoveIdentity     = 18
	agentRemoveAll          = 19
	agentAddSmartcardKey    = 20
	agentRemoveSmartcardKey = 21
	agentLock               = 22
	agentUnlock             = 23
	agentAddIDConstrained   = 25
	agentAddSmartcardKeyCon = 26
	agentExtension          = 27
	agentExtensionFailure   = 28
	agentExtensionResponse  = 29
)

// messageNames are the messages' names there, for the log.
var messageNames = map[byte]string{
	agentFailure:            "SSH_AGENT_FAILURE",
	agentSuccess:            "SSH_AGENT_SUCCESS",
	agentRemoveAllV1:        "SSH_AGENTC_REMOVE_ALL_RSA_IDENTITIES",
	agentRequestIdentities:  "SSH_AGENTC_REQUEST_IDENTITIES",
	agentIdentitiesAnswer:   "SSH_AGENT_IDENTITIES_ANSWER",
	agentSignRequest:        "SSH_AGENTC_SIGN_REQUEST",
	agentSignResponse:       "SSH_AGENT_SIGN_RESPONSE",
	agentAddIdentity:        "SSH_AGENTC_ADD_IDENTITY",
	agentRemoveIdentity:     "SSH_AGENTC_REMOVE_IDENTITY",
	agentRemoveAll:          "SSH_AGENTC_REMOVE_ALL_IDENTITIES",
	agentAddSmartcardKey:    "SSH_AGENTC_ADD_SMARTCARD_KEY",
	agentRemoveSmartcardKey: "SSH_AGENTC_REMOVE_SMARTCARD_KEY",
	agentLock:               "SSH_AGENTC_LOCK",
	agentUnlock:             "SSH_AGENTC_UNLOCK",
	agentAddIDConstrained:   "SSH_AGENTC_ADD_ID_CONSTRAINED",
	agentAddSmartcardKeyCon: "SSH_AGENTC_ADD_SMARTCARD_KEY_CONSTRAINED",
	agentExtension:          "SSH_AGENTC_EXTENSION",
	agentExtensionFailure:   "SSH_AGENT_EXTENSION_FAILURE",
	agentExtensionResponse:  "SSH_AGENT_EXTENSION_RESPONSE",
}

// messageName is the name of a message, or the number of one that is not known.
func messageName(message byte) string {
	if name, ok := messageNames[message]; ok {
		return name
	}
	return strconv.Itoa(int(message))
}

// Flags of a sign request (RFC 9987, section 5.6.1).
const (
	flagRSASHA256 = 2
	flagRSASHA512 = 4
)

// newFrame begins a frame of a message: see writeFrame.
func newFrame(message byte) []byte { return []byte{0, 0, 0, 0, message} }

// appendString appends a string of RFC 4251, section 5.
func appendString[S ~string | ~[]byte](b []byte, s S) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// cutString takes the string of RFC 4251, section 5, that b begins with. It
// shares b's memory.
func cutString(b []byte) (s, rest []byte, ok bool) {
	n, b, ok := cutUint32(b)
	if !ok || uint64(n) > uint64(len(b)) {
		return nil, nil, false
	}
	return b[:n:n], b[n:], true
}

func cutUint32(b []byte) (n uint32, rest []byte, ok bool) {
	if len(b) < 4 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint32(b), b[4:], true
}

// A signRequest is the body of SSH_AGENTC_SIGN_REQUEST (RFC 9987, section 5.6).
type signRequest struct {
	blob  []byte // of the public key
	data  []byte // what is to be signed
	flags uint32
}

func parseSignRequest(body []byte) (r signRequest, ok bool) {
	if r.blob, body, ok = cutString(body); !ok {
		return r, false
	}
	if r.data, body, ok = cutString(body); !ok {
		return r, false
	}
	r.flags, body, ok = cutUint32(body)
	return r, ok && len(body) == 0
}

// An identity is a public key as it stands in a list.
type identity struct {
	blob    []byte
	comment []byte
}

// parseIdentities parses SSH_AGENT_IDENTITIES_ANSWER (RFC 9987, section 5.5).
// The identities share its memory.
func parseIdentities(frame []byte) ([]identity, bool) {
	if len(frame) == 0 || frame[0] != agentIdentitiesAnswer {
		return nil, false
	}
	n, b, ok := cutUint32(frame[1:])
	if !ok || uint64(n)*8 > uint64(len(b)) { // two lengths each
		return nil, false
	}
	ids := make([]identity, n)
	for i := range ids {
		if ids[i].blob, b, ok = cutString(b); !ok {
			return nil, false
		}
		if ids[i].comment, b, ok = cutString(b); !ok {
			return nil, false
		}
	}
	return ids, len(b) == 0
}
