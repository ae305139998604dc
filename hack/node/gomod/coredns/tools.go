//go:build tools

// Package coredns keeps the pin of go.mod alive: `go mod tidy` drops what nothing imports.
package coredns

import _ "github.com/coredns/coredns"
