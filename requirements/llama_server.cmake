# SPDX-License-Identifier: MIT
#
# In place of llama.cpp's own CMakeLists.txt: llama-server alone, on the libraries that llama.sh has
# installed in LLAMA_PREFIX. So the benchmark's peer and burble's engine compute with the same code, and the
# libraries are not compiled twice. The server's page and HTTPS are left out.
cmake_minimum_required(VERSION 3.21)
project("llama.cpp" C CXX)

set(CMAKE_BUILD_TYPE Release)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
set(LLAMA_BUILD_COMMON ON)
set(LLAMA_BUILD_NUMBER 0)
set(LLAMA_BUILD_COMMIT "unknown")
set(LLAMA_BUILD_UI OFF)
set(LLAMA_USE_PREBUILT_UI OFF)
set(LLAMA_OPENSSL OFF)
set(LLAMA_SUBPROCESS OFF)
# The server's own libraries are linked into it.
set(BUILD_SHARED_LIBS OFF)
include(cmake/build-info.cmake)
include(cmake/license.cmake)

# ggml.h and others come from the sources, because the package does not install the internal ones.
foreach(library ggml-base ggml-cpu ggml llama)
    add_library(${library} SHARED IMPORTED GLOBAL)
    set_target_properties(${library} PROPERTIES IMPORTED_LOCATION ${LLAMA_PREFIX}/lib/lib${library}.so)
    target_include_directories(${library} INTERFACE ${CMAKE_SOURCE_DIR}/include ${CMAKE_SOURCE_DIR}/ggml/include)
endforeach()
target_link_libraries(ggml INTERFACE ggml-base ggml-cpu)
target_link_libraries(llama INTERFACE ggml)

function(llama_add_compile_flags) # without warnings: they are llama.cpp's own concern
endfunction()
add_subdirectory(vendor)
add_subdirectory(common)
add_subdirectory(tools/mtmd EXCLUDE_FROM_ALL)
add_subdirectory(tools/ui EXCLUDE_FROM_ALL)
add_subdirectory(tools/server)
# It finds the libraries beside its own folder.
set_target_properties(llama-server PROPERTIES INSTALL_RPATH "$ORIGIN/../lib" BUILD_WITH_INSTALL_RPATH TRUE)
