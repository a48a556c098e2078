// Package keyserver is the service that makes and holds the SSH key pairs of
// users, and holds their secrets: it checks, names, seals, authorises and
// audits. [Server] does all of that over a [Store], which sees sealed values
// only and decides nothing.
package keyserver
