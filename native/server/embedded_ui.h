// The built web UI inside the program.
//
// tools/embed_ui.py gzips every file below ui/dist into the program's read-only data; nothing is
// read from disk at run time. Where the UI was not built the table is empty and the server answers
// "/" with a page that says how to build it. Immutable, so safe from any thread.
#pragma once

#include <span>
#include <string_view>

namespace nuages::server {

struct EmbeddedFile {
  std::string_view path;          // "/index.html", "/assets/index-3f2a.js"
  std::string_view content_type;  // as sent to the browser
  std::string_view gzip;          // the file's bytes, gzipped
  std::string_view etag;          // quoted hash of the content
};

std::span<const EmbeddedFile> embedded_ui();

}  // namespace nuages::server
