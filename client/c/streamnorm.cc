#include "client/c/streamnorm.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "client/streamnorm_client.h"

struct sn_client {
  std::unique_ptr<streamnorm::Client> client;
};

struct sn_session {
  std::unique_ptr<streamnorm::ClientSession> session;
};

namespace streamnorm {
namespace {

template <size_t N>
void Copy(absl::string_view text, char (&to)[N]) {
  const size_t size = std::min(text.size(), N - 1);
  std::memcpy(to, text.data(), size);
  to[size] = '\0';
}

int32_t Report(const absl::Status& status, sn_error* error) {
  const auto code = static_cast<int32_t>(status.code());
  if (error == nullptr) return code;
  error->code = code;
  error->reason[0] = error->message[0] = '\0';
  if (status.ok()) return code;
  Copy(ErrorReason(status), error->reason);
  Copy(status.message(), error->message);
  return code;
}

// No exception leaves the library.
template <typename Work>
int32_t Guard(sn_error* error, Work work) {
  try {
    return Report(work(), error);
  } catch (const std::exception& e) {
    return Report(absl::InternalError(e.what()), error);
  }
}

absl::Status CheckGiven(const void* pointer, const char* name) {
  if (pointer != nullptr) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, ": NULL"));
}

absl::StatusOr<TensorView> RowsAt(int32_t dtype, uint64_t rows,
                                  uint64_t features, const void* input) {
  if (auto s = CheckGiven(input, "input"); !s.ok()) return s;
  TensorView view{static_cast<const uint8_t*>(input), DataType::kFp32, rows,
                  features};
  switch (dtype) {
    case SN_FP32:
      view.type = DataType::kFp32;
      break;
    case SN_FP64:
      view.type = DataType::kFp64;
      break;
    case SN_FP16:
      view.type = DataType::kFp16;
      break;
    case SN_BF16:
      view.type = DataType::kBf16;
      break;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("dtype: ", dtype, ", want SN_FP32 to SN_BF16"));
  }
  constexpr uint64_t kMost = uint64_t{1} << 31;  // no message is larger
  if (rows == 0 || features == 0 || rows > kMost || features > kMost / rows) {
    return absl::InvalidArgumentError(absl::StrCat(
        "rows, features: ", rows, ", ", features, ", want at least 1 each"));
  }
  return view;
}

absl::Status CheckMode(int32_t mode) {
  if (mode >= SN_UPDATE_THEN_NORMALIZE && mode <= SN_UPDATE_ONLY) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "mode: ", mode, ", want SN_UPDATE_THEN_NORMALIZE to SN_UPDATE_ONLY"));
}

template <typename Response>
void FillUpdate(const Response& response, bool over_lane, sn_answer* answer) {
  *answer = {};
  answer->revision = response.revision();
  answer->row_count = response.row_count();
  answer->counted_rows = response.counted_rows();
  answer->durable_sequence = response.durable_sequence();
  answer->duplicate = response.duplicate();
  answer->warming_up = response.warming_up();
  answer->frozen = response.frozen();
  answer->over_lane = over_lane;
}

// `output` is null where none is wanted.
absl::Status Take(const v1::NormalizeResponse& response, bool over_lane,
                  void* output, size_t output_bytes, sn_answer* answer) {
  if (answer != nullptr) {
    FillUpdate(response, over_lane, answer);
    answer->nonfinite_values = response.nonfinite_values();
    answer->clipped_values = response.clipped_values();
  }
  const std::string& data = response.output().data();
  if (data.empty()) return absl::OkStatus();
  if (auto s = CheckGiven(output, "output"); !s.ok()) return s;
  if (data.size() != output_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("output_bytes: ", output_bytes, ", want ", data.size()));
  }
  std::memcpy(output, data.data(), data.size());
  return absl::OkStatus();
}

std::string BytesOf(const void* values, uint64_t features) {
  if (values == nullptr) return "";
  return {static_cast<const char*>(values), features * sizeof(double)};
}

absl::Status ToRequest(const sn_moments& moments,
                       v1::MergeMomentsRequest* request) {
  for (const auto& [pointer, name] :
       {std::pair<const void*, const char*>(moments.normalizer, "normalizer"),
        {moments.mean, "mean"},
        {moments.m2, "m2"}}) {
    if (auto s = CheckGiven(pointer, name); !s.ok()) return s;
  }
  request->set_name(absl::StrCat("normalizers/", moments.normalizer));
  request->set_count(moments.count);
  request->set_mean(BytesOf(moments.mean, moments.features));
  request->set_m2(BytesOf(moments.m2, moments.features));
  request->set_feature_counts(
      BytesOf(moments.feature_counts, moments.features));
  if (moments.minimum != nullptr) {
    request->set_minimum(BytesOf(moments.minimum, moments.features));
  }
  if (moments.maximum != nullptr) {
    request->set_maximum(BytesOf(moments.maximum, moments.features));
  }
  request->set_return_statistics(
      moments.out_mean != nullptr || moments.out_variance != nullptr ||
      moments.out_offset != nullptr || moments.out_scale != nullptr);
  request->set_mode(moments.before != 0 ? v1::NORMALIZE_THEN_UPDATE
                                        : v1::UPDATE_THEN_NORMALIZE);
  return absl::OkStatus();
}

void CopyColumn(const std::string& bytes, uint64_t features, double* to) {
  if (to == nullptr || bytes.size() != features * sizeof(double)) return;
  std::memcpy(to, bytes.data(), bytes.size());
}

void TakeMerged(const v1::MergeMomentsResponse& response, bool over_lane,
                sn_moments* moments) {
  FillUpdate(response, over_lane, &moments->answer);
  CopyColumn(response.mean(), moments->features, moments->out_mean);
  CopyColumn(response.variance(), moments->features, moments->out_variance);
  CopyColumn(response.offset(), moments->features, moments->out_offset);
  CopyColumn(response.scale(), moments->features, moments->out_scale);
}

ClientOptions OptionsOf(const sn_options* given) {
  ClientOptions options;
  if (given == nullptr) return options;
  if (given->request_timeout_ms > 0) {
    options.request_timeout =
        std::chrono::milliseconds(given->request_timeout_ms);
  }
  if (given->max_buffered_updates > 0) {
    options.max_buffered_updates = given->max_buffered_updates;
  }
  if (given->max_buffered_bytes > 0) {
    options.max_buffered_bytes = given->max_buffered_bytes;
  }
  if (given->max_in_flight > 0) options.max_in_flight = given->max_in_flight;
  options.use_lane = given->no_lane == 0;
  return options;
}

sn_session* Wrap(absl::StatusOr<std::unique_ptr<ClientSession>> session,
                 sn_error* error) {
  if (Report(session.status(), error) != SN_OK) return nullptr;
  return new sn_session{*std::move(session)};
}

}  // namespace
}  // namespace streamnorm

using streamnorm::CheckGiven;
using streamnorm::Guard;
using streamnorm::Report;

int32_t sn_abi_version(void) { return SN_ABI_VERSION; }

sn_client* sn_connect(const char* address, const sn_options* options,
                      sn_error* error) {
  std::unique_ptr<sn_client> made;
  Guard(error, [&] {
    if (auto s = CheckGiven(address, "address"); !s.ok()) return s;
    auto client =
        streamnorm::Client::Connect(address, streamnorm::OptionsOf(options));
    const absl::Status status = client.status();
    if (status.ok()) made.reset(new sn_client{*std::move(client)});
    return status;
  });
  return made.release();
}

void sn_client_free(sn_client* client) { delete client; }

int32_t sn_get_or_create_normalizer(sn_client* client, const char* id,
                                    int64_t features, const char* preset,
                                    sn_error* error) {
  return Guard(error, [&] {
    if (auto s = CheckGiven(client, "client"); !s.ok()) return s;
    if (auto s = CheckGiven(id, "id"); !s.ok()) return s;
    return client->client
        ->GetOrCreateNormalizer(id, features, preset == nullptr ? "" : preset)
        .status();
  });
}

int32_t sn_delete_normalizer(sn_client* client, const char* id,
                             sn_error* error) {
  return Guard(error, [&] {
    if (auto s = CheckGiven(client, "client"); !s.ok()) return s;
    if (auto s = CheckGiven(id, "id"); !s.ok()) return s;
    return client->client->DeleteNormalizer(id);
  });
}

int32_t sn_reset_statistics(sn_client* client, const char* id,
                            sn_error* error) {
  return Guard(error, [&] {
    if (auto s = CheckGiven(client, "client"); !s.ok()) return s;
    if (auto s = CheckGiven(id, "id"); !s.ok()) return s;
    return client->client->ResetStatistics(id).status();
  });
}

int32_t sn_normalize_only(sn_client* client, const char* id, int32_t dtype,
                          uint64_t rows, uint64_t features, const void* input,
                          void* output, sn_answer* answer, sn_error* error) {
  return Guard(error, [&]() -> absl::Status {
    if (auto s = CheckGiven(client, "client"); !s.ok()) return s;
    if (auto s = CheckGiven(id, "id"); !s.ok()) return s;
    if (auto s = CheckGiven(output, "output"); !s.ok()) return s;
    const auto view = streamnorm::RowsAt(dtype, rows, features, input);
    if (!view.ok()) return view.status();
    const auto response = client->client->NormalizeOnly(id, *view);
    if (!response.ok()) return response.status();
    return streamnorm::Take(*response, false, output, view->size_bytes(),
                            answer);
  });
}

int32_t sn_get_statistics(sn_client* client, const char* id, uint64_t features,
                          double* mean, double* variance, double* offset,
                          double* scale, uint64_t* row_count, sn_error* error) {
  return Guard(error, [&]() -> absl::Status {
    if (auto s = CheckGiven(client, "client"); !s.ok()) return s;
    if (auto s = CheckGiven(id, "id"); !s.ok()) return s;
    streamnorm::v1::GetStatisticsRequest request;
    request.set_name(absl::StrCat("normalizers/", id));
    request.set_view(streamnorm::v1::GetStatisticsRequest::COLUMNS);
    for (const char* path : {"mean", "variance", "offset", "scale"}) {
      request.mutable_read_mask()->add_paths(path);
    }
    const auto response = client->client->GetStatistics(request);
    if (!response.ok()) return response.status();
    const auto& columns = response->columns();
    if (columns.mean().size() != features * sizeof(double)) {
      return absl::InvalidArgumentError(
          absl::StrCat("features: ", features, ", want ",
                       columns.mean().size() / sizeof(double)));
    }
    streamnorm::CopyColumn(columns.mean(), features, mean);
    streamnorm::CopyColumn(columns.variance(), features, variance);
    streamnorm::CopyColumn(columns.offset(), features, offset);
    streamnorm::CopyColumn(columns.scale(), features, scale);
    if (row_count != nullptr) *row_count = response->row_count();
    return absl::OkStatus();
  });
}

sn_session* sn_session_open(sn_client* client, const char* name,
                            sn_error* error) {
  sn_session* made = nullptr;
  Guard(error, [&] {
    if (auto s = CheckGiven(client, "client"); !s.ok()) return s;
    auto session = client->client->OpenSession(name == nullptr ? "" : name);
    const absl::Status status = session.status();
    made = streamnorm::Wrap(std::move(session), error);
    return status;
  });
  return made;
}

sn_session* sn_session_resume(sn_client* client, const void* token,
                              size_t token_bytes, sn_error* error) {
  sn_session* made = nullptr;
  Guard(error, [&] {
    if (auto s = CheckGiven(client, "client"); !s.ok()) return s;
    if (auto s = CheckGiven(token, "token"); !s.ok()) return s;
    auto session = client->client->ResumeSession(
        {static_cast<const char*>(token), token_bytes});
    const absl::Status status = session.status();
    made = streamnorm::Wrap(std::move(session), error);
    return status;
  });
  return made;
}

void sn_session_free(sn_session* session) { delete session; }

int32_t sn_normalize(sn_session* session, const char* id, int32_t mode,
                     int32_t dtype, uint64_t rows, uint64_t features,
                     const void* input, void* output, sn_answer* answer,
                     sn_error* error) {
  return Guard(error, [&]() -> absl::Status {
    if (auto s = CheckGiven(session, "session"); !s.ok()) return s;
    if (auto s = CheckGiven(id, "id"); !s.ok()) return s;
    if (auto s = streamnorm::CheckMode(mode); !s.ok()) return s;
    if (mode != SN_UPDATE_ONLY) {
      if (auto s = CheckGiven(output, "output"); !s.ok()) return s;
    }
    if (session->session->in_flight() > 0) {
      return absl::FailedPreconditionError(
          "requests are in flight: sn_receive their answers first");
    }
    const auto view = streamnorm::RowsAt(dtype, rows, features, input);
    if (!view.ok()) return view.status();
    const auto response = session->session->Normalize(
        id, *view, static_cast<streamnorm::v1::Mode>(mode));
    if (!response.ok()) return response.status();
    return streamnorm::Take(*response, session->session->uses_lane(), output,
                            view->size_bytes(), answer);
  });
}

int32_t sn_submit(sn_session* session, const char* id, int32_t mode,
                  int32_t dtype, uint64_t rows, uint64_t features,
                  const void* input, sn_error* error) {
  return Guard(error, [&]() -> absl::Status {
    if (auto s = CheckGiven(session, "session"); !s.ok()) return s;
    if (auto s = CheckGiven(id, "id"); !s.ok()) return s;
    if (auto s = streamnorm::CheckMode(mode); !s.ok()) return s;
    const auto view = streamnorm::RowsAt(dtype, rows, features, input);
    if (!view.ok()) return view.status();
    return session->session->Submit(streamnorm::MakeNormalizeRequest(
        id, *view, static_cast<streamnorm::v1::Mode>(mode)));
  });
}

int32_t sn_receive(sn_session* session, void* output, size_t output_bytes,
                   sn_answer* answer, sn_error* error) {
  return Guard(error, [&]() -> absl::Status {
    if (auto s = CheckGiven(session, "session"); !s.ok()) return s;
    if (session->session->in_flight() == 0) {
      return absl::FailedPreconditionError("no answer is due");
    }
    const auto response = session->session->Receive();
    if (!response.ok()) return response.status();
    return streamnorm::Take(*response, session->session->uses_lane(), output,
                            output_bytes, answer);
  });
}

uint64_t sn_in_flight(const sn_session* session) {
  return session == nullptr ? 0 : session->session->in_flight();
}

int32_t sn_exchange_moments(sn_session* session, sn_moments* moments,
                            size_t count, sn_error* error) {
  return Guard(error, [&]() -> absl::Status {
    if (auto s = CheckGiven(session, "session"); !s.ok()) return s;
    if (auto s = CheckGiven(moments, "moments"); !s.ok()) return s;
    std::vector<streamnorm::v1::MergeMomentsRequest> requests(count);
    for (size_t i = 0; i < count; ++i) {
      if (auto s = streamnorm::ToRequest(moments[i], &requests[i]); !s.ok()) {
        return s;
      }
    }
    const auto answers = session->session->ExchangeMoments(std::move(requests));
    if (!answers.ok()) return answers.status();
    const bool over_lane = session->session->uses_lane();
    for (size_t i = 0; i < count; ++i) {
      const auto& answer = (*answers)[i];
      Report(answer.status(), &moments[i].error);
      if (answer.ok()) streamnorm::TakeMerged(*answer, over_lane, &moments[i]);
    }
    return absl::OkStatus();
  });
}

int32_t sn_barrier(sn_session* session, void* token, size_t* token_bytes,
                   sn_error* error) {
  return Guard(error, [&]() -> absl::Status {
    if (auto s = CheckGiven(session, "session"); !s.ok()) return s;
    if (auto s = CheckGiven(token_bytes, "token_bytes"); !s.ok()) return s;
    const auto made = session->session->Barrier();
    if (!made.ok()) return made.status();
    const size_t room = std::exchange(*token_bytes, made->size());
    if (made->size() > room) {
      return absl::OutOfRangeError(absl::StrCat("token_bytes: room for ", room,
                                                ", want ", made->size()));
    }
    if (auto s = CheckGiven(token, "token"); !s.ok()) return s;
    std::memcpy(token, made->data(), made->size());
    return absl::OkStatus();
  });
}

int32_t sn_session_close(sn_session* session, sn_error* error) {
  return Guard(error, [&] {
    if (auto s = CheckGiven(session, "session"); !s.ok()) return s;
    return session->session->Close();
  });
}
