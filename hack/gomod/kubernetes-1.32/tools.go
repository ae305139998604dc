//go:build tools

// Package kubernetes keeps the pins of go.mod alive: `go mod tidy` drops what nothing imports.
package kubernetes

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
)
