#!/bin/sh
# Builds cmocka for MSan into the folder $1: it takes what a library writes for uninitialized
# unless that library is instrumented, too. The sources are Debian's, of the release that runs here; apt
# checks their signatures. What apt keeps of this is in $1 as well: the system's own lists stay as they are.
set -eu
mkdir -p "$1"
cd "$1"
into=$PWD
mkdir -p apt/sources apt/lists/partial
for list in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list.d/ubuntu.sources; do
    [ ! -e "$list" ] || sed 's/^Types:.*/Types: deb-src/' "$list" >"apt/sources/$(basename "$list")"
done
[ ! -e /etc/apt/sources.list ] ||
    sed -n 's/^deb\( .*\)/deb-src\1/p' /etc/apt/sources.list >apt/sources/system.list

apt() {
    apt-get -qq -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$into/apt/sources" \
        -o Dir::State::lists="$into/apt/lists" -o APT::Sandbox::User="$(id -un)" "$@"
}
apt update
apt source --download-only cmocka

rm -rf cmocka
mkdir cmocka
tar -xf cmocka_*.orig.tar.?z -C cmocka --strip-components=1
CC=clang CFLAGS='-O1 -g -fsanitize=memory -fsanitize-memory-track-origins -fno-omit-frame-pointer' \
    cmake -S cmocka -B cmocka/build -DCMAKE_INSTALL_PREFIX="$into" -DCMAKE_INSTALL_LIBDIR=lib \
    -DCMAKE_BUILD_TYPE=None -DWITH_EXAMPLES=OFF
cmake --build cmocka/build --target install
