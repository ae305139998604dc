//go:build tools

// Package metrics keeps the pin of go.mod alive: `go mod tidy` drops what nothing imports.
package metrics

import _ "sigs.k8s.io/metrics-server/cmd/metrics-server"
