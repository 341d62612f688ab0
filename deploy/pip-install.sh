#!/bin/sh
# Run `pip install` in a build stage: pip-install.sh WHAT PIP_ARGUMENT...
# Says first what is installed. pip's output passes through. If pip fails, the last lines name the likely reason: pip's own
# last line is often "ResolutionImpossible" or "No matching distribution" because the network refused the downloads.
set -eu
what=$1
shift
folder=$(cd "$(dirname "$0")" && pwd)
log=$(mktemp)
code=$(mktemp)
echo "Installing $what"
{ "$folder/bin/pip" "$@" 2>&1 && echo 0 >"$code" || echo "$?" >"$code"; } | tee "$log"
status=$(cat "$code")
if [ "$status" -ne 0 ]; then
  found() { grep -qE "$1" "$log"; }
  {
    echo
    echo "pip could not install $what; its own messages are above."
    if found 'CERTIFICATE_VERIFY_FAILED|SSLError|SSLCertVerificationError'; then
      echo "Likely reason: a proxy re-signs TLS, and the build does not know its certificate."
      echo "Way out: put the proxy's certificate into deploy/ca-certificates/ as a *.crt file."
    elif found 'NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|Network is unreachable'; then
      echo "Likely reason: the build has no network, or reaches it only through a proxy."
      echo "Way out: docker build --network=host, or --build-arg HTTPS_PROXY, or --build-arg PIP_INDEX_URL for your own index."
    elif found 'HTTP error|Client Error|Server Error'; then
      echo "Likely reason: the index or a proxy refuses the downloads; see the HTTP status above."
      echo "Way out: check the proxy's rules and the password in PIP_INDEX_URL."
    else
      echo "Likely reason: the index has no wheel of these versions for this Python and processor, or a proxy hides it."
      echo "Way out: another BASE_IMAGE (Python 3.11 to 3.13), or --build-arg PIP_INDEX_URL for an index that has the wheels."
    fi
    echo "More: deploy/README.md, \"Building on a restricted network\"."
  } >&2
fi
rm -f "$log" "$code"
exit "$status"
