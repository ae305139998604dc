// Command etcd is the etcd server. Its own main package lives in a module that cannot be pinned
// beside Kubernetes, so this one calls the library entry point directly.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
