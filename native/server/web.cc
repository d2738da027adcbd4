#include "server/web.h"

#include <boost/asio/post.hpp>
#include <boost/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "query/json_writer.h"
#include "server/decompress.h"
#include "server/embedded_ui.h"

namespace nuages::server {
namespace {

constexpr size_t kMaxWaiting = 128;
constexpr size_t kMaxFileBytes = size_t{64} << 20;

std::string json_string(std::string_view text) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      out += "\\u00";
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    } else {
      out += c;
    }
  }
  return out + "\"";
}

const char* error_code(int status) {
  if (status == 404) return "not_found";
  if (status == 401 || status == 403) return "denied";
  if (status == 429 || status == 503) return "unavailable";
  return status >= 500 ? "internal" : "invalid";
}

const EmbeddedFile* find_file(std::string_view path) {
  for (const EmbeddedFile& file : embedded_ui()) {
    if (file.path == path) return &file;
  }
  return nullptr;
}

bool is_page(std::string_view path) {
  return path.substr(path.rfind('/') + 1).find('.') == std::string_view::npos;
}

constexpr const char* kSession = "/api/v1/session";
constexpr const char* kLogin = "/api/v1/login";
constexpr const char* kLogout = "/api/v1/logout";

bool is_session_route(std::string_view path) {
  return path == kSession || path == kLogin || path == kLogout;
}

bool is_api(std::string_view path) {
  return path == "/api" || path.starts_with("/api/") || path == "/healthz" || path == "/readyz" ||
         path == "/metrics";
}

std::string_view header(const Request& request, const char* name) {
  const auto found = request.headers.find(name);
  return found == request.headers.end() ? std::string_view() : std::string_view(found->second);
}

// Who asks: {"required", "user", "role"}; where nobody needs to log in everybody is administrator.
Response session_response(bool required, const std::optional<Login>& login) {
  Response response;
  query::JsonWriter json;
  json.begin_object().key("required").boolean(required);
  json.field("user", std::string_view(login ? login->user : std::string()));
  json.field("role", login ? name_of(login->role) : required ? "none" : "admin");
  json.end_object();
  response.body = json.take();
  response.headers.emplace_back("Cache-Control", "no-store");
  return response;
}

bool mentions(const Request& request, const char* header, std::string_view word) {
  const auto found = request.headers.find(header);
  return found != request.headers.end() && found->second.find(word) != std::string::npos;
}

constexpr char kNoUi[] =
    "<!doctype html><meta charset=utf-8><title>Nuages</title><h1>Nuages</h1>"
    "<p>The web UI is not built into this server: run <code>make ui server</code>. "
    "The API is at <a href=/api/v1/traces>/api/v1/traces</a>.";

}  // namespace

Web::~Web() { stop(); }

void Web::stop() {
  api_.store(nullptr);
  pool_.join();
}

Response Web::error(int status, const std::string& message, std::string_view) const {
  Response response;
  response.status = status;
  response.body = std::string("{\"error\":{\"code\":\"") + error_code(status) +
                  "\",\"message\":" + json_string(message) + "}}";
  if (status == 429 || status == 503) response.headers.emplace_back("Retry-After", "1");
  return response;
}

bool Web::locked() const {
  return (keys_ != nullptr && keys_->required()) || (logins_ != nullptr && logins_->any());
}

std::optional<Login> Web::session(const Request& request) const {
  if (logins_ == nullptr) return std::nullopt;
  return logins_->find(header(request, "cookie"));
}

std::optional<Response> Web::refuse_stranger(const Request& request) const {
  const bool changes = request.method != "GET" && request.method != "HEAD";
  // A browser sends its user's session or key along with whatever page asks; only our own may
  // change things.
  const std::string_view origin = header(request, "origin");
  if (changes && !origin.empty() &&
      origin.substr(origin.find("//") + 2) != header(request, "host")) {
    return error(403, "Origin \"" + std::string(origin) + "\" is another site");
  }
  if (!is_api(request.path) || request.path == "/healthz" || request.path == "/readyz" ||
      is_session_route(request.path) || !locked()) {
    return {};
  }
  if (const auto login = session(request)) {
    if (!changes || login->role == Role::kAdmin) return {};
    return error(403, login->user + " may look; changes are for administrators");
  }
  Error reason{ErrorCode::kDenied, "log in at /, or send the header Authorization: Bearer KEY"};
  if (keys_ != nullptr && keys_->required()) {
    const auto key = keys_->check(changes ? Scope::kAdmin : Scope::kRead,
                                  header(request, "authorization"), header(request, "x-api-key"));
    if (key.ok()) return {};
    reason = key.error();
  }
  Response response = error(401, reason.message);
  // Not Basic, although that is understood: the UI asks, not the browser.
  response.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"Nuages\"");
  return response;
}

std::vector<std::pair<std::string, std::string>> Web::routes() {
  return {{"GET", kSession}, {"POST", kLogin}, {"POST", kLogout}};
}

Response Web::log_in(const Request& request) const {
  boost::system::error_code broken;
  const boost::json::value body = boost::json::parse(request.body, broken);
  const auto text = [&](const char* name) -> std::optional<std::string> {
    const auto* object = broken ? nullptr : body.if_object();
    const auto* member = object == nullptr ? nullptr : object->if_contains(name);
    if (member == nullptr || !member->is_string()) return std::nullopt;
    return std::string(member->get_string());
  };
  const auto user = text("user");
  const auto password = text("password");
  // A form of another site cannot send this type without asking first.
  if (!header(request, "content-type").starts_with("application/json") || !user || !password) {
    return error(400, "send application/json with the strings user and password");
  }
  const auto cookie = logins_->log_in(*user, *password);
  if (!cookie.ok()) {
    return error(cookie.error().code == ErrorCode::kExhausted ? 429 : 401, cookie.error().message);
  }
  Response response = session_response(true, logins_->find(*cookie));
  response.headers.emplace_back("Set-Cookie", *cookie);
  return response;
}

void Web::answer_session(Request request, Done done) {
  const bool asks = request.path == kSession;
  const std::string_view method = asks ? "GET" : "POST";
  if (request.method != method && !(asks && request.method == "HEAD")) {
    Response response =
        error(405, request.path + " answers " + std::string(method) + ", not " + request.method);
    response.headers.emplace_back("Allow", method);
    return done(std::move(response));
  }
  if (asks) return done(session_response(locked(), session(request)));
  if (logins_ == nullptr) return done(error(404, "nobody can log in here"));
  if (request.path == kLogout) {
    Response response = session_response(locked(), std::nullopt);
    response.headers.emplace_back("Set-Cookie", logins_->log_out());
    return done(std::move(response));
  }
  post(std::move(done), [this, request = std::move(request)] { return log_in(request); });
}

void Web::handle(Request request, Done done) {
  if (auto refused = refuse_stranger(request)) return done(std::move(*refused));
  if (is_session_route(request.path)) return answer_session(std::move(request), std::move(done));
  if (is_api(request.path)) return ask_api(std::move(request), std::move(done));
  if (request.method != "GET" && request.method != "HEAD") {
    Response response = error(405, "method " + request.method + " is not GET");
    response.headers.emplace_back("Allow", "GET, HEAD");
    return done(std::move(response));
  }
  done(serve_file(request));
}

void Web::ask_api(Request request, Done done) {
  if (api_.load() == nullptr) {
    Response response;
    response.content_type = "text/plain";
    response.body = "ok\n";
    if (request.path == "/healthz") return done(std::move(response));
    if (no_store_.empty()) {
      return done(error(503, "the store is not open yet; retry in a moment"));
    }
    if (request.path == "/readyz") {
      response.body = "ready; " + no_store_ + "\n";
      return done(std::move(response));
    }
    if (request.path == "/metrics") {
      response.content_type = "text/plain; version=0.0.4; charset=utf-8";
      response.body = metrics_();
      return done(std::move(response));
    }
    return done(error(501, no_store_));
  }
  post(std::move(done), [this, request = std::move(request)] {
    Api* api = api_.load();
    return api == nullptr ? error(503, "the server is stopping") : api->handle(request);
  });
}

void Web::post(Done done, std::function<Response()> work) {
  if (waiting_.fetch_add(1) >= kMaxWaiting) {
    --waiting_;
    return done(error(503, "too many requests are waiting; retry in a moment"));
  }
  boost::asio::post(pool_, [this, work = std::move(work), done = std::move(done)] {
    Response response = work();
    --waiting_;
    done(std::move(response));
  });
}

Response Web::serve_file(const Request& request) const {
  Response response;
  response.headers = {
      {"X-Content-Type-Options", "nosniff"},
      {"Referrer-Policy", "no-referrer"},
      {"Content-Security-Policy",
       "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
       "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"}};
  const bool root = request.path == "/";
  const EmbeddedFile* file = find_file(root ? "/index.html" : request.path);
  if (file == nullptr && is_page(request.path)) file = find_file("/index.html");
  if (file == nullptr) {
    if (!root || !embedded_ui().empty()) return error(404, "no such file: " + request.path);
    response.content_type = "text/html; charset=utf-8";
    response.body = kNoUi;
    return response;
  }
  response.content_type = file->content_type;
  response.headers.emplace_back("ETag", std::string(file->etag));
  // Names under /assets/ carry a hash of the content, so they never change.
  response.headers.emplace_back("Cache-Control", file->path.starts_with("/assets/")
                                                     ? "public, max-age=31536000, immutable"
                                                     : "no-cache");
  response.headers.emplace_back("Vary", "Accept-Encoding");
  if (mentions(request, "if-none-match", file->etag)) {
    response.status = 304;
    return response;
  }
  if (mentions(request, "accept-encoding", "gzip")) {
    response.headers.emplace_back("Content-Encoding", "gzip");
    response.body = file->gzip;
    return response;
  }
  Result<std::string> plain = decompress(file->gzip, Compression::kGzip, kMaxFileBytes);
  if (!plain.ok()) return error(500, "an embedded file is damaged: " + plain.error().message);
  response.body = std::move(plain).value();
  return response;
}

}  // namespace nuages::server
