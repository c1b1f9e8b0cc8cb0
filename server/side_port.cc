#include "server/side_port.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "google/protobuf/util/json_util.h"
#include "server/errors.h"

namespace streamnorm {
namespace {

constexpr char kStatisticsPath[] = "/statistics/";

// About 400 bytes each: an answer of at most 400 KB, made in a few
// milliseconds.
constexpr int64_t kMaxFeatures = 1000;

HttpResponse Text(int status, absl::string_view text) {
  return {.status = status, .body = absl::StrCat(text, "\n")};
}

int HttpStatusOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kInvalidArgument:
      return 400;
    case absl::StatusCode::kResourceExhausted:
      return 413;
    default:
      return 503;
  }
}

// `start=0&end=1000`.
absl::Status ParseRange(absl::string_view query,
                        v1::FeatureSelection* selection) {
  int64_t start = 0, end = 0;
  for (const absl::string_view part :
       absl::StrSplit(query, '&', absl::SkipEmpty())) {
    absl::string_view value = part;
    const bool known = absl::ConsumePrefix(&value, "start=")
                           ? absl::SimpleAtoi(value, &start)
                           : absl::ConsumePrefix(&value, "end=") &&
                                 absl::SimpleAtoi(value, &end);
    if (!known) {
      return InvalidField("query", Quoted(part), "start=NUMBER and end=NUMBER");
    }
  }
  selection->set_start(start);
  selection->set_end(end);
  return absl::OkStatus();
}

absl::Status CheckSize(const Handler& handler,
                       const v1::GetStatisticsRequest& request) {
  const auto features = handler.FeatureCount(request.name());
  if (!features.ok()) return features.status();
  const v1::FeatureSelection& selection = request.selection();
  const int64_t end = selection.end() == 0 ? *features : selection.end();
  // What is no range, GetStatistics refuses.
  const int64_t start = std::max<int64_t>(0, selection.start());
  const int64_t wanted = std::min(end, *features) - start;
  if (wanted <= kMaxFeatures) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat(wanted, " features, want at most ", kMaxFeatures,
                   " at a time: ?start=0&end=", kMaxFeatures));
}

// (A read is answered before it returns.)
absl::Status GetStatistics(Handler* handler,
                           const v1::GetStatisticsRequest& request,
                           v1::Statistics* response) {
  absl::Status answer = absl::InternalError("not answered");
  handler->GetStatistics(request, response, [&](absl::Status status) {
    answer = std::move(status);
  });
  return answer;
}

}  // namespace

HttpResponse SidePort::AnswerWhileStarting(const HttpRequest& request) {
  return request.path == "/healthz" ? Text(200, "ok") : Text(503, "starting");
}

HttpResponse SidePort::Answer(const HttpRequest& request) const {
  if (request.path == "/healthz") return Text(200, "ok");
  if (request.path == "/readyz") return Readiness();
  if (request.path == "/metrics") {
    return {.content_type = "text/plain; version=0.0.4; charset=utf-8",
            .body = MetricsPage(sources_)};
  }
  if (absl::StartsWith(request.path, kStatisticsPath)) {
    return Statistics(request);
  }
  return Text(404, "want /metrics, /healthz, /readyz or /statistics/NAME");
}

// A full disk is ready: reads are answered, and updates wait for room.
HttpResponse SidePort::Readiness() const {
  if (draining_) return Text(503, "shutting down");
  if (sources_.committer->failed()) return Text(503, "the store failed");
  return Text(200, "ready");
}

HttpResponse SidePort::Statistics(const HttpRequest& request) const {
  v1::GetStatisticsRequest get;
  get.set_name(
      NormalizerName(absl::StripPrefix(request.path, kStatisticsPath)));
  absl::Status status = ParseRange(request.query, get.mutable_selection());
  if (status.ok()) status = CheckSize(*handler_, get);
  v1::Statistics statistics;
  if (status.ok()) status = GetStatistics(handler_, get, &statistics);
  if (!status.ok()) return Text(HttpStatusOf(status), status.message());
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  HttpResponse response;
  response.content_type = "application/json";
  const auto written = google::protobuf::util::MessageToJsonString(
      statistics, &response.body, options);
  return written.ok() ? response : Text(500, "can't be written as JSON");
}

}  // namespace streamnorm
