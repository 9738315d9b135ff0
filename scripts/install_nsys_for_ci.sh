#!/bin/sh
# Unpack a real nsys (2023.4.4, Debian's non-free packages) into a folder, without installing anything on the machine.
#
#   scripts/install_nsys_for_ci.sh DIR        prints the path of the nsys program; a second call only prints it
#
# It records NVTX ranges on a machine without a GPU, imports and exports: what the tests marked `nsys` need. It does not
# see the ranges of the Python package nvtx 0.2.12 and later, so those tests need `pip install nvtx==0.2.11`.
# Needs a Debian machine with apt-get, dpkg and ldd, and 650 MB in DIR; no root.
set -eu

[ $# -eq 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
mkdir -p "$1"
folder=$(cd "$1" && pwd)
nsys=$folder/target-linux-x64/nsys
importer=$folder/host-linux-x64/QdstrmImporter
if [ -e "$folder/complete" ]; then
    echo "$nsys"
    exit 0
fi

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -r "$keyring" ] || { echo "$0: $keyring is missing: install debian-archive-keyring" >&2; exit 1; }
# The mirror that this machine's own apt uses, so that a local one serves these packages too.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -E '/debian/?$' | head -n 1)
mirror=${mirror:-http://deb.debian.org/debian}

work=$folder/unpack
rm -rf "$work" "$folder/target-linux-x64" "$folder/host-linux-x64"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/root"
# Libraries come from the machine's own release: trixie's need a newer libc than bookworm has.
release=$(. /etc/os-release && [ "$ID" = debian ] && echo "$VERSION_CODENAME" || echo bookworm)
{
    echo "deb [signed-by=$keyring] $mirror trixie non-free"
    echo "deb [signed-by=$keyring] $mirror $release main"
} > "$work/sources.list"
private="-o Dir::Etc::sourcelist=$work/sources.list -o Dir::Etc::sourceparts=/dev/null
    -o Dir::State::lists=$work/lists -o Dir::Cache=$work/cache -o APT::Sandbox::User="

cd "$work"
# shellcheck disable=SC2086 # the options are words
apt-get $private -qq update
# shellcheck disable=SC2086
apt-get $private -qq download nsight-systems nsight-systems-target >&2
for package in *.deb; do
    dpkg -x "$package" root
    rm "$package"
done
# nsys looks for its importer in a folder beside its own.
mv root/usr/lib/x86_64-linux-gnu/nsight-systems/target-linux-x64 root/usr/lib/nsight-systems/host-linux-x64 "$folder"
# `nsys stats` looks for this module here, Debian has it among Python's packages.
cp -L root/usr/lib/python3/dist-packages/nsysstats.py "$folder/host-linux-x64/python/lib/"
rm -f "$folder/host-linux-x64/libssh.so" "$folder/host-linux-x64/libssh.so.4"

missing() {
    ldd "$nsys" "$importer" 2>/dev/null | awk '/not found/ { print $1 }' | sort -u
}

# unpack_library NAME PACKAGES: put a library that the machine lacks beside the programs, from the first package there is.
unpack_library() {
    for package in $2; do
        # shellcheck disable=SC2086
        apt-get $private -qq download "$package" >&2 || continue
        rm -rf library
        dpkg -x "$package"_*.deb library
        find library -name "$1*" -exec cp -P {} "$folder/host-linux-x64/" \;
        find library -name "$1*" -exec cp -P {} "$folder/target-linux-x64/" \;
        return
    done
    echo "$0: no package for $1" >&2
    exit 1
}

unpack_library libssh.so.4 libssh-4
ln -s libssh.so.4 "$folder/host-linux-x64/libssh.so"
for _ in 1 2 3; do # what is unpacked may itself need more
    for library in $(missing); do
        case $library in
        libpfm.so.4) unpack_library "$library" libpfm4 ;;
        libelf.so.1) unpack_library "$library" "libelf1 libelf1t64" ;;
        libdw.so.1) unpack_library "$library" "libdw1 libdw1t64" ;;
        libgssapi_krb5.so.2) unpack_library "$library" libgssapi-krb5-2 ;;
        libkrb5.so.3) unpack_library "$library" libkrb5-3 ;;
        libk5crypto.so.3) unpack_library "$library" libk5crypto3 ;;
        libkrb5support.so.0) unpack_library "$library" libkrb5support0 ;;
        *) echo "$0: $library is missing on this machine" >&2; exit 1 ;;
        esac
    done
done
[ -z "$(missing)" ] || { echo "$0: still missing: $(missing)" >&2; exit 1; }

cd "$folder"
rm -rf "$work"
# 200 MB of a viewer's browser and translations that nothing here starts.
rm -rf "$folder"/host-linux-x64/libQt6WebEngineCore.so.6 "$folder"/host-linux-x64/translations
"$nsys" --version >&2
touch "$folder/complete"
echo "$nsys"
