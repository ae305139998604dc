#!/usr/bin/env bash
# The test cluster of `make e2e` on kind instead of locally built programs.
#   hack/kind.sh up     create the cluster, install kwok, add fake GPU nodes
#   hack/kind.sh down   delete the cluster
# Needs docker, kind and kubectl on PATH and access to GitHub and the usual image registries.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cluster=guide
kubeconfig=$PWD/.run/kind.kubeconfig
kwok_version=$(sed -n 's#^\tsigs.k8s.io/kwok \(v[0-9.]*\)$#\1#p' hack/gomod/go.mod)
kwok_release=https://github.com/kubernetes-sigs/kwok/releases/download/$kwok_version

for program in docker kind kubectl; do
  command -v "$program" >/dev/null || {
    echo "hack/kind.sh needs $program on PATH; without Docker, \`make e2e\` needs only Go." >&2
    exit 1
  }
done

case ${1:-} in
up)
  make --silent .venv/.synced
  mkdir -p .run
  kind create cluster --config hack/kind.yaml --kubeconfig "$kubeconfig" --wait 120s
  export KUBECONFIG=$kubeconfig
  kubectl apply -f "$kwok_release/kwok.yaml"
  kubectl apply -f "$kwok_release/stage-fast.yaml"
  kubectl -n kube-system rollout status deployment/kwok-controller --timeout=120s
  .venv/bin/python -m hack.nodes h100-sxm=2 a100-80=2 l40s=1 gke-l4=2 eks-karpenter-a10g=1 |
    kubectl apply --server-side -f -
  # what runs plans without a GPU: spec.deployment.image of a plan in mode Apply
  docker build --quiet -t guide-operator:kind -f hack/Dockerfile .
  docker build --quiet -t guide-standin:kind -f hack/standin/Dockerfile \
    --build-arg PYTHON=guide-operator:kind .
  kind load docker-image --name "$cluster" guide-operator:kind guide-standin:kind
  echo "install the chart with --set image.repository=guide-operator --set image.tag=kind, and serve plans" \
    "with deployment.image: guide-standin:kind"
  echo "run the tests on it with: GUIDE_E2E_KUBECONFIG=$kubeconfig make e2e"
  ;;
down)
  kind delete cluster --name "$cluster" --kubeconfig "$kubeconfig"
  rm -f "$kubeconfig"
  ;;
*)
  sed -n '2,5s/^# //p' "$0" >&2
  exit 2
  ;;
esac
