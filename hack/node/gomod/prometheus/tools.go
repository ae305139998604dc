//go:build tools

// Package prometheus keeps the pin of go.mod alive: `go mod tidy` drops what nothing imports.
package prometheus

import _ "github.com/prometheus/prometheus/cmd/prometheus"
