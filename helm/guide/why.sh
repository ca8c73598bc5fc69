#!/bin/sh
# Why was this model and this replica chosen? Asks every OneHop of a namespace for the receipt that an answer named in
# its header x-onehop-receipt.
#
#   helm/guide/why.sh RECEIPT [NAMESPACE]
set -eu
receipt=$1
namespace=${2:-llm}
ask='import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())'
for pod in $(kubectl get pods -n "$namespace" -l app.kubernetes.io/name=onehop -o name); do
  if kubectl exec -n "$namespace" "$pod" -- \
    python -c "$ask" "http://127.0.0.1:9091/debug/decisions/$receipt" 2>/dev/null; then
    exit 0
  fi
done
echo "no OneHop in namespace $namespace remembers receipt $receipt" >&2
exit 1
