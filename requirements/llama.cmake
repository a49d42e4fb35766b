# SPDX-License-Identifier: MIT
#
# llama-cpp-python always turns llama.cpp's helper library on. burble needs libllama alone, and without
# the helpers the build takes half as long. A normal variable goes before the cache's.
set(LLAMA_BUILD_COMMON OFF)
