// One HTTP exchange as the API sees it: no network types, so every route is tested as a function
// from Request to Response.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nuages::server {

struct Request {
  std::string method;                        // "GET"
  std::string path;                          // decoded, without the query: "/api/v1/traces/4bf9..."
  std::map<std::string, std::string> query;  // decoded; the last of repeated keys wins
  std::vector<std::pair<std::string, std::string>> query_list;  // all of them, in order
  std::map<std::string, std::string> headers;                   // names in lower case
  std::string body;                                             // already decompressed
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>>
      headers;  // besides content-type and content-length
  std::string body;
};

}  // namespace nuages::server
