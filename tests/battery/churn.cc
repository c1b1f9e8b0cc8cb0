#include "tests/battery/churn.h"

#include <gtest/gtest.h>

#include <span>

#include "absl/strings/str_cat.h"
#include "tests/battery/battery.h"

namespace streamnorm {
namespace {

constexpr int kNormalizers = 3;

}  // namespace

Churn::Churn(const std::string& address, uint64_t seed)
    : address_(address), random_(seed) {
  ClientOptions options;
  options.request_timeout = LongestAbsence();
  client_ = *Client::Connect(address_, options);
  thread_ = std::thread(&Churn::Run, this);
}

Churn::~Churn() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

void Churn::Run() {
  while (!stop_ && complaints_.empty()) {
    const absl::Status status = Round();
    ++rounds_;
    if (status.ok()) continue;
    complaints_.push_back("churn: " + status.ToString());
    complained_ = true;
  }
}

// A session that updates some of the normalizers, one of which may be reset or
// deleted under it, and ends. What it sent after a reset it can't have heard of
// would not count (docs/durability.md): it sends nothing more then.
absl::Status Churn::Round() {
  auto session = client_->OpenSession("churn");
  if (!session.ok()) return session.status();
  const auto any = [&] {
    return absl::StrCat("churned-", random_() % kNormalizers);
  };
  absl::Status status;
  for (uint64_t i = 1 + random_() % 4; status.ok() && i > 0; --i) {
    status = Update(session->get(), any());
  }
  if (status.ok() && random_() % 2 == 0) status = ResetOrDelete(any());
  if (status.ok()) status = (*session)->Close();
  for (int i = 0; status.ok() && i < kNormalizers; ++i) {
    status = Check(absl::StrCat("churned-", i));
  }
  return status;
}

absl::Status Churn::Update(ClientSession* session, const std::string& id) {
  const auto made = client_->GetOrCreateNormalizer(id, 1);
  if (!made.ok()) return made.status();
  const std::vector<double> rows(1 + random_() % 3, 1.0);
  const auto answer = session->Normalize(
      id, RowsOf(std::span<const double>(rows), 1), v1::UPDATE_ONLY);
  if (answer.ok()) rows_[id] += rows.size();
  return answer.status();
}

// A try whose answer was lost may have done it: each is done again.
absl::Status Churn::ResetOrDelete(const std::string& id) {
  if (!rows_.contains(id)) return absl::OkStatus();
  if (random_() % 2 == 0) {
    rows_[id] = 0;
    return client_->ResetStatistics(id).status();
  }
  rows_.erase(id);
  const absl::Status deleted = client_->DeleteNormalizer(id);
  return absl::IsNotFound(deleted) ? absl::OkStatus() : deleted;
}

absl::Status Churn::Check(const std::string& id) {
  const auto found = client_->GetNormalizer(id);
  if (!rows_.contains(id)) {
    if (absl::IsNotFound(found.status())) return absl::OkStatus();
    return found.ok() ? absl::InternalError(id + ": deleted and back")
                      : found.status();
  }
  if (!found.ok()) return found.status();
  const auto rows = static_cast<uint64_t>(found->row_count());
  if (rows == rows_[id]) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat(id, ": ", rows, " rows, want ", rows_[id],
                   rows < rows_[id] ? ": lost" : ": counted twice"));
}

void Churn::FinishAndCheck() {
  stop_ = true;
  thread_.join();
  for (const std::string& complaint : complaints_) ADD_FAILURE() << complaint;
  if (!complaints_.empty()) return;
  for (int i = 0; i < kNormalizers; ++i) {
    const auto status = Check(absl::StrCat("churned-", i));
    EXPECT_TRUE(status.ok()) << status;
  }
}

}  // namespace streamnorm
