#!/bin/sh
# SPDX-License-Identifier: MIT
#
# llama_tests.sh FOLDER: llama.cpp's tests of its server (FOLDER/tests) from the sources of the package llama-cpp-python,
# and the shipped model with the template of ChatML (FOLDER/chat.gguf), which stands for the models of the tests.
set -eu
folder=$1
here=$(cd "$(dirname "$0")" && pwd)
template="{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
template="$template{% if add_generation_prompt %}{{'<|im_start|>assistant\\n'}}{% endif %}"

echo "-- fetching llama.cpp's tests of its server ($folder)"
sources=$(mktemp -d)
python -m pip --disable-pip-version-check --no-input -qq download --no-deps --no-binary=llama-cpp-python --dest="$sources" \
    -r "$here/llama.txt"
rm -rf "$folder"
mkdir -p "$folder"
tar -xzf "$sources"/llama_cpp_python-*.tar.gz -C "$folder" --strip-components=5 --wildcards '*/vendor/llama.cpp/tools/server/tests'
python -m gguf.scripts.gguf_new_metadata --chat-template "$template" "$here/../models/shakespeare.gguf" \
    "$folder/chat.gguf" >/dev/null 2>&1
rm -r "$sources"
