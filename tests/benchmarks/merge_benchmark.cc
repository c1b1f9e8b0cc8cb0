// What MergeMoments and ExchangeMoments cost inside the server, from the parsed
// request to the answer before it is serialized: no transport, no disk.

#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/committer.h"
#include "server/handler.h"
#include "server/registry.h"
#include "server/session_handler.h"
#include "storage/memory_store.h"

namespace streamnorm {
namespace {

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(EXIT_FAILURE);
}

std::string Doubles(size_t features, double first) {
  std::vector<double> values(features);
  for (size_t j = 0; j < features; ++j) {
    values[j] = first + static_cast<double>(j);
  }
  return {reinterpret_cast<const char*>(values.data()),
          values.size() * sizeof(double)};
}

// A server without a transport, with a session. It commits when it is told to.
class Service {
 public:
  Service()
      : registry_({1000, 100'000'000}, &queue_),
        committer_({.by_hand = true}, store_.get(), &queue_, &Require),
        handler_({Limits(), false, NewHistoryId(), 1}, &registry_, &sessions_,
                 &queue_, &committer_),
        session_handler_(NewHistoryId(), 1, &registry_, &sessions_, &queue_,
                         &committer_) {
    session_handler_.OpenSession({}, &session_, &Require);
    Commit();
  }

  Handler& handler() { return handler_; }
  void Commit() { committer_.CommitNow(); }

  // The first merge into a new normalizer of so many features, to be numbered
  // on.
  v1::MergeMomentsRequest NewMerge(size_t features) {
    v1::CreateNormalizerRequest create;
    create.set_normalizer_id(absl::StrCat("n", normalizers_++));
    create.mutable_normalizer()->set_features(static_cast<int64_t>(features));
    v1::Normalizer created;
    handler_.CreateNormalizer(create, &created, &Require);
    Commit();
    v1::MergeMomentsRequest merge;
    merge.set_name(created.name());
    auto* id = merge.mutable_update_id();
    id->set_session(session_.session());
    id->set_epoch(session_.epoch());
    id->set_generation(created.generation());
    merge.set_count(4);
    merge.set_mean(Doubles(features, 3));
    merge.set_m2(Doubles(features, 5));
    merge.set_return_statistics(true);
    merge.set_mode(v1::NORMALIZE_THEN_UPDATE);
    Number(&merge);
    v1::MergeMomentsResponse response;
    handler_.MergeMoments(merge, &response, &Require);
    return merge;
  }

  static void Number(v1::MergeMomentsRequest* merge) {
    auto* id = merge->mutable_update_id();
    id->set_sequence(id->sequence() + 1);
  }

 private:
  const std::unique_ptr<StatisticsStore> store_ = NewMemoryStore();
  CommitQueue queue_;
  SessionTable sessions_{{.max_sessions = 1000}};
  Registry registry_;
  Committer committer_;
  Handler handler_;
  SessionHandler session_handler_;
  v1::OpenSessionResponse session_;
  int normalizers_ = 0;
};

void Merge(benchmark::State& state) {
  Service service;
  auto merge = service.NewMerge(static_cast<size_t>(state.range(0)));
  for (auto _ : state) {
    Service::Number(&merge);
    v1::MergeMomentsResponse response;
    service.handler().MergeMoments(merge, &response, &Require);
    benchmark::DoNotOptimize(response);
  }
}
BENCHMARK(Merge)->Arg(64)->Arg(1024)->Arg(4096)->ArgName("features");

#ifndef BASE
void Exchange(benchmark::State& state) {
  Service service;
  v1::ExchangeMomentsRequest request;
  for (int64_t i = 0; i < state.range(0); ++i) {
    *request.add_merges() =
        service.NewMerge(static_cast<size_t>(state.range(1)));
  }
  for (auto _ : state) {
    for (auto& merge : *request.mutable_merges()) Service::Number(&merge);
    v1::ExchangeMomentsResponse response;
    service.handler().ExchangeMoments(request, &response, &Require);
    benchmark::DoNotOptimize(response);
  }
}
BENCHMARK(Exchange)->Args({1, 1024})->Args({8, 64})->Args({8, 1024})->ArgNames(
    {"layers", "features"});
#endif

}  // namespace
}  // namespace streamnorm
