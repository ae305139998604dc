//go:build tools

// Package policies keeps the pin of go.mod alive: `go mod tidy` drops what nothing imports.
package policies

import _ "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"
