#include "tests/battery/battery.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"

namespace streamnorm {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

uint64_t Seed() {
  const char* set = std::getenv("STREAMNORM_BATTERY_SEED");
  const uint64_t seed = set != nullptr ? std::strtoull(set, nullptr, 10)
                                       : std::random_device()() % 1'000'000;
  std::printf("STREAMNORM_BATTERY_SEED=%lu\n",
              static_cast<unsigned long>(seed));
  return seed;
}

}  // namespace

int Cycles(int few, int many) {
  if (const char* set = std::getenv("STREAMNORM_BATTERY_CYCLES")) {
    return std::atoi(set);
  }
  return std::getenv("STREAMNORM_LONG") != nullptr ? many : few;
}

std::chrono::seconds LongestAbsence() {
  return std::chrono::seconds(std::getenv("STREAMNORM_LONG") != nullptr ? 300
                                                                        : 60);
}

Battery::Battery() : seed_(Seed()), random_(seed_), disk_(dir_.path()) {}

std::vector<std::string> Battery::RollFlags() {
  const auto one_of = [&](std::initializer_list<int> values) {
    return std::to_string(values.begin()[random_() % values.size()]);
  };
  return {"--listen",
          "unix:" + (dir_ / "socket"),
          "--data_dir",
          disk_.directory() + "/data",
          "--backup_dir",
          backup_dir_,
          "--log_level=error",
          "--commit_interval_ms=" + one_of({1, 1, 3, 10, 40}),
          "--max_log_bytes=" + one_of({64 << 10, 256 << 10, 64 << 20}),
          "--min_free_disk_bytes=0"};
}

std::vector<std::string> Battery::Environment(const Faults& faults) {
  std::vector<std::string> environment = {
      std::string("LD_PRELOAD=") + std::getenv("STREAMNORM_FAULTS_LIBRARY"),
      "STREAMNORM_FAULTS_UNDER=" + disk_.directory(),
      "STREAMNORM_FAULTS_NOTES=" + disk_.notes(),
      "STREAMNORM_FAULTS_REPORT=" + ReportPath(),
      absl::StrCat("STREAMNORM_FAULTS_SYNC_DELAY_US=",
                   random_() % 3 == 0 ? random_() % 20'000 : random_() % 500)};
  environment.insert(environment.end(), faults.begin(), faults.end());
  return environment;
}

bool Battery::Start(const Faults& faults) {
  const std::vector<std::string> environment = Environment(faults);
  const auto begin = steady_clock::now();
  if (server_ == nullptr) {
    server_ = std::make_unique<ServerUnderTest>(RollFlags(), environment);
  } else {
    server_->Restart(RollFlags(), environment);
  }
  if (server_->address().empty()) return false;
  longest_start_ = std::max(
      longest_start_,
      std::chrono::duration_cast<milliseconds>(steady_clock::now() - begin));
  return true;
}

void Battery::Kill() { server_->Kill(); }

void Battery::CutPower() {
  disk_.CutPower(&random_);
  lost_bytes_ += disk_.loss().bytes;
  lost_names_ += disk_.loss().names;
}

std::vector<std::string> Battery::Reported(const std::string& what) const {
  std::ifstream report(ReportPath());
  std::vector<std::string> found;
  for (std::string line; std::getline(report, line);) {
    if (line.starts_with(what + " "))
      found.push_back(line.substr(what.size() + 1));
  }
  return found;
}

void Battery::LiveAndDie(unsigned power_cuts) {
  // At a call of its own choice, which may be one of its start, or at any time.
  Faults faults;
  const bool at_a_call = load_.has_value() && random_() % 2 == 0;
  if (at_a_call) {
    faults.push_back(
        absl::StrCat("STREAMNORM_FAULTS_KILL_AT=", 1 + random_() % 400));
  }
  const bool listens = Start(faults);
  ASSERT_TRUE(listens || at_a_call) << "it does not start";
  if (!load_) load_.emplace(server_->address(), Load::Options{.seed = seed_});
  if (listens) {
    const auto patience = milliseconds(500);
    if (at_a_call) {
      server_->EndsWithin(patience);
    } else {
      // As often as not just after it began, before its first commit.
      load_->WaitForAnswers(random_() % 2 == 0 ? 0 : random_() % 300, patience);
    }
    Kill();
  } else {
    ASSERT_EQ(server_->Wait(), 128 + SIGKILL) << "it does not start";
  }
  ASSERT_FALSE(load_->complained());
  if (random_() % 100 < power_cuts) CutPower();
}

void Battery::FinishAndCheck() {
  ASSERT_TRUE(Start()) << "it does not start";
  load_->FinishAndCheck();
  EXPECT_EQ(server_->Terminate(), 0);
}

}  // namespace streamnorm
