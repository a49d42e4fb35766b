#!/bin/sh
# SPDX-License-Identifier: MIT
#
# llhttp.sh FOLDER: llhttp, the parser of HTTP, as a static library with its pkg-config file, from the sources in a
# Python package. A system's own llhttp is used where pkg-config knows it: then only that is noted in FOLDER.
set -eu
folder=$1
here=$(cd "$(dirname "$0")" && pwd)
rm -rf "$folder"
mkdir -p "$folder/lib/pkgconfig" "$folder/include"
if pkg-config --exists 'libllhttp >= 9'; then
    touch "$folder/system"
    exit
fi
echo "-- building llhttp ($folder)"
sources=$(mktemp -d)
trap 'rm -r "$sources"' EXIT
python -m pip --disable-pip-version-check --no-input -qq download --no-deps --no-binary=httptools --dest="$sources" \
    -r "$here/llhttp.txt"
tar -xzf "$sources"/httptools-*.tar.gz -C "$sources" --strip-components=2 --wildcards '*/vendor/llhttp'
cd "$sources/llhttp"
for source in api http llhttp; do
    ${CC:-cc} -O2 -g -fPIC -fvisibility=hidden -Iinclude -c "src/$source.c" -o "$source.o"
done
cd - >/dev/null
ar rcs "$folder/lib/libllhttp.a" "$sources"/llhttp/*.o
cp "$sources/llhttp/include/llhttp.h" "$folder/include"
number() { sed -n "s/^#define LLHTTP_VERSION_$1 //p" "$folder/include/llhttp.h"; }
cat >"$folder/lib/pkgconfig/libllhttp.pc" <<END
prefix=$(cd "$folder" && pwd)

Name: libllhttp
Description: A parser of HTTP
Version: $(number MAJOR).$(number MINOR).$(number PATCH)
Libs: -L\${prefix}/lib -lllhttp
Cflags: -I\${prefix}/include
END
