"""A real node (kubelet, containerd, runc, kube-proxy, CoreDNS) for the test control plane."""
