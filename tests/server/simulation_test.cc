// Training jobs with the client's Outbox, a network that drops, repeats and
// reorders, and a server that crashes and loses what it had not synced: all in
// one thread, every step chosen by a seed, so that what goes wrong goes wrong
// again.
//
// Both halves of the protocol are the shipped ones; what is left out is gRPC,
// RocksDB and waiting.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/errors.h"
#include "server/logging.h"
#include "tests/server/simulated_job.h"
#include "tests/server/simulated_server.h"
#include "tests/stats/oracle.h"

namespace streamnorm {
namespace {

constexpr int kJobs = 3;

class World {
 public:
  explicit World(unsigned seed) : random_(seed), network_(&random_) {
    StartLife();
    for (int n = 0; n < kSimNormalizers; ++n) CreateNormalizer(n);
    life_->Commit();
    for (int i = 0; i < kJobs; ++i) jobs_.emplace_back(i, &network_, &random_);
    resets_left_ = static_cast<int>(random_() % 3);
  }

  void Run() {
    int steps = 0;
    while (!std::all_of(jobs_.begin(), jobs_.end(),
                        [](const SimJob& job) { return job.done(); })) {
      ASSERT_LT(++steps, 100'000) << "no progress";
      Step(/*faults=*/steps < kFaultySteps);
      if (testing::Test::HasFailure()) return;
    }
    network_.Drain(life_.get());
    life_->Commit();
    CheckPromises();
    CheckCounts();
  }

 private:
  // The faults end some day.
  static constexpr int kFaultySteps = 1500;

  void CreateNormalizer(int n) {
    v1::CreateNormalizerRequest request;
    request.set_normalizer_id(absl::StrCat("n", n));
    request.mutable_normalizer()->set_features(1);
    auto created = std::make_shared<v1::Normalizer>();
    life_->Get<Handler>().CreateNormalizer(
        request, created.get(),
        [created](const absl::Status& s) { ASSERT_TRUE(s.ok()) << s; });
  }

  void StartLife() {
    life_.reset();
    life_ = std::make_unique<Life>(&store_);
  }

  void Step(bool faults) {
    switch (random_() % 12) {
      case 0:
      case 1:
      case 2:
      case 3:
        return jobs_[random_() % jobs_.size()].Act(faults);
      case 4:
        if (random_() % 3 == 0) return Commit(faults);
        if (faults && random_() % 12 == 0) Crash();
        if (faults && random_() % 40 == 0) Reset();
        if (faults && random_() % 10 == 0) CreateSnapshot();
        return;
      case 5:
      case 6:
      case 7:
      case 8:
        return network_.DeliverToServer(faults, life_.get());
      default:
        return network_.DeliverToClient(faults);
    }
  }

  // Someone who is no job forgets the statistics.
  void Reset() {
    if (resets_left_ == 0) return;
    --resets_left_;
    v1::ResetStatisticsRequest request;
    request.set_name(
        SimNormalizerName(static_cast<int>(random_() % kSimNormalizers)));
    network_.Call(
        &Handler::ResetStatistics, request,
        [this](const absl::Status& status, const v1::Normalizer& reset) {
          ASSERT_TRUE(status.ok()) << status;
          uint64_t& promised = promised_generations_[reset.name()];
          promised = std::max(promised, reset.generation());
        });
  }

  // Someone keeps the statistics as they are, and perhaps no longer once he
  // has heard of it. A repeated message may make again what was deleted.
  void CreateSnapshot() {
    v1::CreateSnapshotRequest request;
    request.set_parent(
        SimNormalizerName(static_cast<int>(random_() % kSimNormalizers)));
    request.set_snapshot_id(absl::StrCat("s", snapshots_made_++));
    network_.Call(&SnapshotHandler::CreateSnapshot, request,
                  [this](const absl::Status& status, const v1::Snapshot& made) {
                    if (absl::IsAlreadyExists(status)) return;
                    ASSERT_TRUE(status.ok()) << status;
                    if (!heard_of_.insert(made.name()).second) return;
                    promised_snapshots_[made.name()] = made;
                    if (random_() % 3 == 0) DeleteSnapshot(made.name());
                  });
  }
  void DeleteSnapshot(const std::string& name) {
    promised_snapshots_.erase(name);
    v1::DeleteSnapshotRequest request;
    request.set_name(name);
    network_.Call(
        &SnapshotHandler::DeleteSnapshot, request,
        [](const absl::Status& status, const google::protobuf::Empty&) {
          ASSERT_TRUE(status.ok() || absl::IsNotFound(status)) << status;
        });
  }

  // Perhaps the server dies in the middle of it: then nobody is answered.
  void Commit(bool faults) {
    const size_t answers = network_.answers();
    if (faults && random_() % 12 == 0) {
      store_.DieIn(1 + static_cast<int>(random_() % 3));
    }
    life_->Commit();
    if (!store_.dead()) return store_.DieIn(-1);
    network_.Forget(answers);
    Crash();
  }

  // What is on its way arrives in the next life; what waited for a commit is
  // never answered.
  void Crash() {
    store_.LosePower(&random_);
    StartLife();
    CheckPromises();
  }

  void CheckPromises();
  void CheckPromises(const StoreContents::Normalizer& normalizer, int n) const;
  void CheckSnapshots(const StoreContents& contents) const;
  void CheckCounts() const;
  void CheckCounts(const NormalizerState& state, int n) const;

  SimRandom random_;
  LossyStore store_;
  SimNetwork network_;
  std::unique_ptr<Life> life_;
  std::vector<SimJob> jobs_;
  int resets_left_ = 0;
  std::map<std::string, uint64_t> promised_generations_;  // by name
  int snapshots_made_ = 0;
  std::map<std::string, v1::Snapshot> promised_snapshots_;
  std::set<std::string> heard_of_;
};

int NumberOf(const StoreContents::Normalizer& normalizer) {
  for (int n = 0; n < kSimNormalizers; ++n) {
    if (NormalizerName(normalizer.definition.id) == SimNormalizerName(n)) {
      return n;
    }
  }
  ADD_FAILURE() << normalizer.definition.id;
  return 0;
}

// What was told to be on disk is in the store that is left: so is what the jobs
// do not keep any more.
void World::CheckPromises() {
  const auto contents = store_.Synced();
  ASSERT_EQ(contents.normalizers.size(), kSimNormalizers);
  for (const auto& normalizer : contents.normalizers) {
    CheckPromises(normalizer, NumberOf(normalizer));
  }
  CheckSnapshots(contents);
}

// As they were answered; none has rows that the store never had.
void World::CheckSnapshots(const StoreContents& contents) const {
  std::map<std::string, SharedSnapshot> found;
  for (const auto& normalizer : contents.normalizers) {
    EXPECT_TRUE(normalizer.damaged_snapshots.empty());
    for (const SharedSnapshot& snapshot : normalizer.snapshots) {
      const std::string name =
          SnapshotName(normalizer.definition.id, snapshot->id);
      EXPECT_LE(snapshot->state.revision, normalizer.state.revision) << name;
      found[name] = snapshot;
    }
  }
  for (const auto& [name, promised] : promised_snapshots_) {
    ASSERT_EQ(found.count(name), 1u) << name << " is gone";
    const NormalizerState& state = found[name]->state;
    EXPECT_EQ(state.revision, promised.revision()) << name;
    EXPECT_EQ(state.moments.row_count(), promised.row_count()) << name;
  }
}

void World::CheckPromises(const StoreContents::Normalizer& normalizer,
                          int n) const {
  const auto reset = promised_generations_.find(SimNormalizerName(n));
  if (reset != promised_generations_.end()) {
    EXPECT_GE(normalizer.state.generation, reset->second) << "a reset is gone";
  }
  for (const SimJob& job : jobs_) {
    if (job.closing() || job.promised(n) == 0) continue;
    uint64_t applied = 0;
    for (const LedgerRecord& ledger : normalizer.ledgers) {
      const bool its =
          job.session() ==
          std::string(ledger.session.bytes.begin(), ledger.session.bytes.end());
      if (its) applied = ledger.applied_sequence;
    }
    EXPECT_GE(applied, job.promised(n)) << "told durable and lost";
  }
}

void World::CheckCounts() const {
  for (const auto& normalizer : store_.Synced().normalizers) {
    CheckCounts(normalizer.state, NumberOf(normalizer));
  }
}

// An update that was made in the last generation only is counted; one that was
// made before it only is not. One that a restarted job made again after a reset
// may be either.
void World::CheckCounts(const NormalizerState& state, int n) const {
  const Moments& moments = state.moments;
  const long double sum =
      (static_cast<long double>(moments.mean()[0]) + moments.mean_tail()[0]) *
      static_cast<long double>(moments.row_count());
  const auto counted = static_cast<uint64_t>(std::llround(sum));
  EXPECT_NEAR(static_cast<double>(sum), static_cast<double>(counted), 1e-3);
  uint64_t known = 0;
  uint64_t rows = 0;
  for (const SimJob& job : jobs_) {
    for (const SimStep& step : job.steps()) {
      if (step.normalizer != n || step.bad) continue;
      EXPECT_LE(*step.born.rbegin(), state.generation) << "never was";
      const auto bit = static_cast<uint64_t>(step.sum);
      const bool in = (counted & bit) != 0;
      known |= bit;
      if (in) rows += step.rows;
      if (*step.born.begin() == state.generation) {
        EXPECT_TRUE(in) << "lost";
      } else if (*step.born.rbegin() != state.generation) {
        EXPECT_FALSE(in) << "made before the reset";
      }
    }
  }
  EXPECT_EQ(counted & ~known, 0) << "counted twice, or never made";
  EXPECT_EQ(moments.row_count(), rows)
      << (moments.row_count() < rows ? "lost" : "counted twice");
}

// STREAMNORM_SEED is the first one, alone unless STREAMNORM_SEEDS says how
// many.
TEST(SimulationTest, EverySeedEndsWithEachUpdateCountedOnce) {
  SetLogLevel("critical");  // many servers are going to die
  unsigned first = 1;
  auto count = static_cast<unsigned>(Repetitions(
      std::getenv("STREAMNORM_LONG") != nullptr ? 1'000'000 : 20'000));
  if (const char* seed = std::getenv("STREAMNORM_SEED")) {
    first = static_cast<unsigned>(std::atoi(seed));
    count = 1;
  }
  if (const char* seeds = std::getenv("STREAMNORM_SEEDS")) {
    count = static_cast<unsigned>(std::atoi(seeds));
  }
  for (unsigned seed = first; seed - first < count; ++seed) {
    World(seed).Run();
    ASSERT_FALSE(HasFailure()) << "STREAMNORM_SEED=" << seed;
    if (seed % 100'000 != 0) continue;
    std::printf("up to seed %u\n", seed);
    std::fflush(stdout);
  }
  std::printf("%u seeds\n", count);
}

}  // namespace
}  // namespace streamnorm
