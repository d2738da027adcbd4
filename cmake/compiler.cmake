# Compiler launcher, warnings and sanitizers: one place for all targets.
find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()

add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Wimplicit-fallthrough -fno-omit-frame-pointer)
if(NUAGES_WERROR)
  add_compile_options(-Werror)
endif()
if(NUAGES_SANITIZE)
  add_compile_options(-fsanitize=${NUAGES_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${NUAGES_SANITIZE})
endif()
if(NUAGES_SANITIZE MATCHES "thread")
  add_compile_options(-Wno-tsan)   # Boost.Asio's atomic_thread_fence, which TSan does not model
endif()
if(NUAGES_BUILD_FUZZ)
  # clang reports libstdc++ 12's own use of get_temporary_buffer in stable_sort
  add_compile_options(-fsanitize=fuzzer-no-link -Wno-deprecated-declarations)
endif()
if(CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
  # Assertions state invariants that tests must be able to trip, so they stay on; -g1 keeps objects small.
  set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O2 -g1")
  # The agent alone is also optimised as a whole: 6 % of a span's cost (docs/design/span-path.md). Test programs would only link slower.
  if(NUAGES_BUILD_AGENT AND NOT NUAGES_BUILD_SERVER AND NOT NUAGES_BUILD_TESTS AND NOT NUAGES_BUILD_BENCH AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-flto=auto -fno-semantic-interposition)
    add_link_options(-flto=auto)
  endif()
endif()
