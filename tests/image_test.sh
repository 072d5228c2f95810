#!/usr/bin/env bash
# Builds the image for real and runs a job in it, where there is no Docker: buildah builds without a daemon, and debootstrap
# makes a Debian with Python to stand in for python:slim. What a GPU does in it, this cannot tell.
#
# Needs Debian, root, and 25 GB below $TMPDIR (default /var/tmp); takes some minutes. Leaves nothing but the two packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '\n[%4d s] %s\n' "$SECONDS" "$*"; }
die() { printf 'image test: %s\n' "$*" >&2; exit 1; }

[[ -e /etc/debian_version ]] || die "needs Debian (for debootstrap and its archive keys)"
[[ $EUID -eq 0 ]] || die "needs root, to install and chroot into a base system"
if ! { command -v buildah && command -v debootstrap; } >/dev/null; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends buildah debootstrap >/dev/null
fi

# --- A storage of our own, so that cleaning up is deleting one folder -------------------------------------------------
work=$(mktemp -d "${TMPDIR:-/var/tmp}/atso-bench-image.XXXXXX")
export TMPDIR=$work
driver=overlay
buildah() { command buildah --root "$work/storage" --runroot "$work/run" --storage-driver "$driver" "$@"; }
clean_up() {
    umount --recursive "$work/storage/$driver" 2>/dev/null || true
    if mount | grep -qF " on $work"; then
        printf 'image test: %s is still mounted, so it stays\n' "$work" >&2
    else
        rm -rf "$work"
    fi
}
trap clean_up EXIT
buildah from --name probe scratch >/dev/null 2>&1 && buildah mount probe >/dev/null 2>&1 || driver=vfs

# --- The base image, which knows this machine's way to its packages --------------------------------------------------------
# pip's and uv's settings, certificates and local package folders come from outside: the Dockerfile knows none of them.
say "base image (storage: $driver)"
base=$(buildah from scratch)
debootstrap --variant=minbase --include=python3,python3-venv bookworm "$(buildah mount "$base")" >"$work/debootstrap.log" \
    || { tail "$work/debootstrap.log" >&2; die "debootstrap failed"; }
buildah umount "$base" >/dev/null
for name in $(compgen -e | grep -E '^(PIP|UV)_|^(SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE)$|^(https?|all|no)_proxy$' || true); do
    [[ $name == UV_CACHE_DIR ]] || buildah config --env "$name=${!name}" "$base"
done
buildah commit --quiet --rm "$base" atso-bench-base >/dev/null

mounts=()
mentioned=$({ python3 -m pip config list; env | grep -E '^(UV_|SSL_|REQUESTS_)'; } 2>/dev/null | grep -oE "/[^' ]+" | sort -u || true)
for path in /etc/pip.conf /etc/uv ${mentioned//\/\/\//\/}; do # file:///x is /x
    [[ ! -e $path ]] || mounts+=(--volume "$path:$path:ro")
done
for path in .config/pip .pip .config/uv; do
    [[ ! -e $HOME/$path ]] || mounts+=(--volume "$HOME/$path:/root/$path:ro")
done

# --- The image ----------------------------------------------------------------------------------------------------------
say "image"
buildah bud --isolation chroot --layers=false --build-arg BASE_IMAGE=localhost/atso-bench-base "${mounts[@]}" \
    --tag atso-bench . >"$work/build.log" 2>&1 || { tail -n 40 "$work/build.log" >&2; die "the build failed"; }

say "what is in it"
expect() { [[ $2 == "$3" ]] || die "$1 is '$2', not '$3'"; }
config() { buildah inspect --type image --format "{{.OCIv1.Config.$1}}" atso-bench; }
expect entrypoint "$(config Entrypoint)" '[atso-bench]'
expect user "$(config User)" 10001:10001
job=$(buildah from --pull-never atso-bench)
root=$(buildah mount "$job")
installed=$(cd "$root"/opt/atso/lib/python3*/site-packages/atso_bench && find . -type f ! -name '*.pyc' | sort)
wanted=$(cd src/atso_bench && find -L . -type f ! -name '*.pyc' | sort)
diff <(echo "$wanted") <(echo "$installed") || die "the installed package lacks files (<) or has others (>)"
[[ ! -e $root/opt/atso/bin/pytest ]] || die "development tools are in the image"
du -sh "$root" | sed 's#\t.*# unpacked#'

# --- The job: no network, another user, read-only data, as the Dockerfile's first lines say -----------------------------
say "the job"
mkdir "$work/data" "$work/results"
chown 10001 "$work/data" "$work/results"
in_image() {
    unshare --net buildah --root "$work/storage" --runroot "$work/run" --storage-driver "$driver" run --isolation chroot \
        --volume "$work/data:/data:ro" --volume "$work/results:/results" "$@"
}
expect "the user's number" "$(in_image "$job" -- id -u)" 10001
in_image "$job" -- sh -c '! touch /data/x 2>/dev/null' || die "/data can be written to"
in_image "$job" -- sh -c '! touch /opt/atso/x 2>/dev/null' || die "the program can overwrite itself"
offline='import errno, socket; raise SystemExit(socket.socket().connect_ex(("192.0.2.1", 9)) != errno.ENETUNREACH)'
in_image "$job" -- timeout 5 python -c "$offline" || die "the job has a network"
in_image "$job" -- atso-bench run --method atso --fraction 10 --budget smoke
in_image "$job" -- atso-bench report
find "$work/results/records" -name '*.json' | grep . || die "no record was written"
[[ -s $work/results/report/index.html ]] || die "no report was written"
[[ -z $(find "$work/results" ! -uid 10001) ]] || die "another user wrote results"

# --- The same with a read-only root, as just any user (docker run --read-only --tmpfs /tmp --user 54321) -----------------
# buildah's chroot has no --read-only; these are the mounts that Docker makes for it.
say "read-only, as user 54321"
mapfile -t variables < <(buildah inspect --type image --format '{{range .OCIv1.Config.Env}}{{println .}}{{end}}' atso-bench | grep =)
mkdir "$work/others"
chown 54321 "$work/others"
read_only() {
    ROOT=$root DATA=$work/data RESULTS=$work/others unshare --net --mount --propagation private sh -eu -c '
        mount --bind "$ROOT" "$ROOT"
        mount --bind "$DATA" "$ROOT/data"
        mount -o remount,bind,ro "$ROOT/data"
        mount --bind "$RESULTS" "$ROOT/results"
        mount -t tmpfs tmpfs "$ROOT/tmp"
        mount -t proc proc "$ROOT/proc"
        mount --rbind /dev "$ROOT/dev"
        mount -o remount,bind,ro "$ROOT"
        exec chroot --userspec=54321:54321 "$ROOT" "$@"' sh env -i "${variables[@]}" sh -c 'cd /results && exec "$@"' sh "$@"
}
expect "the user's number" "$(read_only id -u)" 54321
for place in / /data /opt/atso /var/tmp; do
    read_only sh -c "! touch $place/x 2>/dev/null" || die "$place can be written to"
done
read_only atso-bench run --method supervised --fraction 10 --budget smoke || die "it does not run on a read-only root"
[[ -s $work/others/report/index.html ]] || die "no report was written on a read-only root"
[[ -z $(find "$work/others" ! -uid 54321) ]] || die "another user wrote results"

say "passed"
