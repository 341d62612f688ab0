#!/usr/bin/env bash
# Builds the base image from Debian packages, for machines that cannot pull one from a registry.
set -euo pipefail

tag=onnx-serving-base:bookworm
suite=bookworm
mirror=
force=no

usage() {
  cat <<USAGE
usage: sudo deploy/make-base-image.sh [--tag NAME:TAG] [--suite NAME] [--mirror URL] [--force]

Bootstraps a small Debian with Python 3 and imports it into the local Docker engine. Pass the tag to the build:
  docker build --build-arg BASE_IMAGE=$tag --target serving-cpu -t onnx-serving:cpu .

  --tag NAME:TAG  the image's name (default: $tag)
  --suite NAME    the Debian release; its Python must be 3.11 to 3.13 (default: $suite)
  --mirror URL    the Debian mirror (default: the mirror that this machine's apt uses for the suite)
  --force         build again even if the tag exists
USAGE
}

fail() {
  echo "make-base-image: $*" >&2
  exit 1
}

while [ $# -gt 0 ]; do
  case $1 in
    --tag | --suite | --mirror)
      [ -n "${2:-}" ] || fail "$1 needs a value; see --help"
      printf -v "${1#--}" %s "$2"
      shift 2
      ;;
    --force) force=yes && shift ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && fail "unknown argument '$1'" ;;
  esac
done

docker info >/dev/null 2>&1 || fail "no Docker engine answers 'docker info'; start it, set DOCKER_HOST, or run this with sudo"

image_size() {
  docker image inspect --format '{{.Size}}' "$tag" | awk '{ printf "%.1f MB", $1 / 1e6 }'
}

if [ "$force" = no ] && docker image inspect "$tag" >/dev/null 2>&1; then
  echo "$tag exists already, $(image_size); pass --force to build it again"
  exit 0
fi

[ "$(id -u)" = 0 ] || fail "debootstrap must run as root (it makes a chroot); run this with sudo"
if ! command -v debootstrap >/dev/null; then
  command -v apt-get >/dev/null || fail "debootstrap not found; install it with this system's package manager"
  echo "installing debootstrap"
  apt-get update -qq && apt-get install -y -qq --no-install-recommends debootstrap >/dev/null ||
    fail "apt-get could not install debootstrap; install it by hand"
fi

# Ask apt for its sources instead of reading sources.list, because there are several file formats.
# Prints lines of "URL RELEASE" for the suite, its -updates and its -security.
apt_sources() {
  command -v apt-get >/dev/null || return 0
  apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Identifier: Packages' |
    awk -v suite="$suite" '$3 == "main" && ($2 == suite || $2 ~ "^" suite "-(updates|security)$") { print $1, $2 }' | sort -u
}

sources=$(apt_sources)
if [ -n "$mirror" ]; then
  sources=$(printf '%s\n' "$mirror $suite" "$(awk -v suite="$suite" '$2 != suite' <<<"$sources")")
fi
mirror=$(awk -v suite="$suite" '$2 == suite { print $1; exit }' <<<"$sources")
[ -n "$mirror" ] || fail "this machine's apt has no source for '$suite'; name a Debian mirror with --mirror URL"
grep -q -- "-security$" <<<"$sources" ||
  echo "warning: this machine's apt has no source for '$suite-security': the image gets no security updates" >&2

work=$(mktemp -d)
# --one-file-system: if debootstrap was killed with /proc mounted in the chroot, rm does not enter /proc.
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root
mkdir "$root"

echo "bootstrapping $suite from $mirror"
# ca-certificates: pip verifies its index with them. python3-venv: the Dockerfile's builder stage makes venvs.
debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv \
  "$suite" "$root" "$mirror" >"$work/debootstrap.log" 2>&1 || {
  tail -n 20 "$work/debootstrap.log" >&2
  fail "debootstrap failed; the end of its log is above"
}

# debootstrap installs only the release's original packages: install the updates too. During the upgrade the chroot has this
# machine's apt settings (proxy, certificates).
echo "installing updates"
awk 'NF { print "deb", $1, $2, "main" }' <<<"$sources" >"$root/etc/apt/sources.list"
apt-config dump 2>/dev/null | grep -iE '^Acquire::(https?|Check-)' >"$root/etc/apt/apt.conf.d/99build" || true
cp /etc/resolv.conf "$root/etc/resolv.conf"
# A chroot has no init, so packages must not start services.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"
DEBIAN_FRONTEND=noninteractive LC_ALL=C chroot "$root" \
  sh -c 'apt-get update -q && apt-get upgrade -q -y && apt-get clean' >"$work/upgrade.log" 2>&1 || {
  tail -n 20 "$work/upgrade.log" >&2
  fail "apt-get upgrade failed in the new system; the end of its log is above"
}
rm "$root/etc/apt/apt.conf.d/99build" "$root/usr/sbin/policy-rc.d" "$root/etc/resolv.conf"

# Remove files that a container never reads. Keep the licences (/usr/share/doc/*/copyright): redistribution requires them.
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/cache/debconf/*-old \
  "$root"/var/log/* "$root"/usr/share/{man,info,locale,lintian}/* "$root"/tmp/*
find "$root/usr/share/doc" ! -type d ! -name copyright -delete
find "$root/usr/share/doc" -type d -empty -delete

echo "importing $tag"
# The Docker engine provides /dev, /proc and /sys.
tar -C "$root" --numeric-owner --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' -c . |
  docker import \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8' \
    --change 'CMD ["python3"]' \
    --message "Debian $suite with Python 3, made by deploy/make-base-image.sh" \
    - "$tag" >/dev/null

version=$(docker run --rm --network none "$tag" python3 --version) || fail "$tag was imported but python3 does not run in it"
echo "$tag: $version, $(image_size)"
