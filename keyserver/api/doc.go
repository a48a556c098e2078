// Package api is the key server's wire: the JSON types, the error values, the
// form of its tokens, the sealed form in which a private key travels, and a
// [Client]. The server and its clients share it, so an error means the same on
// both sides.
//
// It imports the standard library only. None of its types has a field that a
// stored private key could be left in, except [PrivateKey], the answer to the
// one request that asks for it.
package api
