# nuages_embedded_ui: ui/dist, gzipped, inside the program (tools/embed_ui.py writes one assembler-backed source). The table is empty where the
# UI was not built, so C++ builds without Node.
set(embedded ${CMAKE_BINARY_DIR}/embedded_ui/embedded_ui.cc)
file(GLOB_RECURSE ui_files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/ui/dist/*)
find_program(PYTHON3_FOR_BUILD NAMES python3 REQUIRED)
add_custom_command(
  OUTPUT ${embedded}
  COMMAND ${PYTHON3_FOR_BUILD} ${CMAKE_SOURCE_DIR}/tools/embed_ui.py ${CMAKE_SOURCE_DIR}/ui/dist ${embedded}
  DEPENDS ${CMAKE_SOURCE_DIR}/tools/embed_ui.py ${ui_files}
  COMMENT "Embedding ui/dist")
add_library(nuages_embedded_ui STATIC ${embedded})
target_include_directories(nuages_embedded_ui PRIVATE ${CMAKE_SOURCE_DIR}/native)
