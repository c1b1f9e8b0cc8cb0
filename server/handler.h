#ifndef STREAMNORM_SERVER_HANDLER_H_
#define STREAMNORM_SERVER_HANDLER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/empty.pb.h"
#include "server/commit_queue.h"
#include "server/committer.h"
#include "server/limits.h"
#include "server/metrics.h"
#include "server/normalizer.h"
#include "server/registry.h"
#include "server/sessions.h"
#include "server/wire.h"
#include "storage/records.h"
#include "streamnorm/v1/normalizer_service.pb.h"

namespace streamnorm {

// What each RPC of NormalizerService does, without gRPC: check the request,
// act on the domain, answer, and wait for the disk where the answer promises
// it. Every transport calls this. (Those of sessions are SessionHandler's.)
//
// Safe for concurrent use. Each method calls `done` exactly once: before it
// returns, or on the committer's thread; request and response must live until
// then, and `done` must not block. On an error the response is not to be used.
class Handler {
 public:
  using Done = std::function<void(absl::Status)>;

  struct Options {
    Limits limits;

    // The first Normalize of an unknown normalizer creates it.
    bool auto_create = false;

    HistoryId history_id{};
    uint64_t incarnation = 0;
  };

  // All pointers outlive it.
  Handler(const Options& options, Registry* registry, SessionTable* sessions,
          CommitQueue* queue, const Committer* committer);

  void CreateNormalizer(const v1::CreateNormalizerRequest& request,
                        v1::Normalizer* response, Done done);
  void GetNormalizer(const v1::GetNormalizerRequest& request,
                     v1::Normalizer* response, Done done);
  void ListNormalizers(const v1::ListNormalizersRequest& request,
                       v1::ListNormalizersResponse* response, Done done);
  void UpdateNormalizer(const v1::UpdateNormalizerRequest& request,
                        v1::Normalizer* response, Done done);
  void DeleteNormalizer(const v1::DeleteNormalizerRequest& request,
                        google::protobuf::Empty* response, Done done);
  void ResetStatistics(const v1::ResetStatisticsRequest& request,
                       v1::Normalizer* response, Done done);
  void FreezeNormalizer(const v1::FreezeNormalizerRequest& request,
                        v1::Normalizer* response, Done done);
  void UnfreezeNormalizer(const v1::UnfreezeNormalizerRequest& request,
                          v1::Normalizer* response, Done done);

  void Normalize(const v1::NormalizeRequest& request,
                 v1::NormalizeResponse* response, Done done);

  // For a transport that keeps a tensor's bytes apart from the message. `data`
  // stands for request.input().data(), and the bytes of output.data go to what
  // `space` answers: it is asked for data.size() bytes, at most once, and may
  // answer with those of `data`, if these are more than kFusedBytes.
  void Normalize(const v1::NormalizeRequest& request, absl::string_view data,
                 const OutputSpace& space, v1::NormalizeResponse* response,
                 Done done);

  void Denormalize(const v1::DenormalizeRequest& request,
                   v1::DenormalizeResponse* response, Done done);
  void MergeMoments(const v1::MergeMomentsRequest& request,
                    v1::MergeMomentsResponse* response, Done done);
  void ExchangeMoments(const v1::ExchangeMomentsRequest& request,
                       v1::ExchangeMomentsResponse* response, Done done);
  void GetStatistics(const v1::GetStatisticsRequest& request,
                     v1::Statistics* response, Done done);

  // Of a normalizer or a snapshot. Errors as of GetStatistics.
  absl::StatusOr<int64_t> FeatureCount(const std::string& name) const;

  // What all of this did.
  const WorkMetrics& work() const { return work_; }

 private:
  using NormalizerPtr = std::shared_ptr<Normalizer>;

  absl::StatusOr<NormalizerPtr> AutoCreate(const v1::NormalizeRequest& request,
                                           absl::string_view data,
                                           NormalizeCall call);
  absl::Status TryOnNew(const NormalizerDefinition& definition,
                        const v1::NormalizeRequest& request,
                        absl::string_view data, NormalizeCall call) const;
  absl::StatusOr<UpdateSource> ParseSource(bool has_id, const v1::UpdateId& id,
                                           bool fail_if_frozen) const;

  // An update that took effect.
  struct Update {
    NormalizerPtr normalizer;
    UpdateSource source;
    bool waits = false;  // its answer, for the disk
  };
  static Update UpdateOf(NormalizerPtr normalizer, UpdateSource source,
                         bool wait_durable, const UpdateOutcome& outcome);

  // Each does one RPC up to the point where only the disk is missing.
  absl::StatusOr<Update> DoMerge(const v1::MergeMomentsRequest& request,
                                 v1::MergeMomentsResponse* response) const;
  absl::StatusOr<NormalizerPtr> DoCreate(
      const v1::CreateNormalizerRequest& request, v1::Normalizer* response);
  absl::StatusOr<NormalizerPtr> DoUpdate(
      const v1::UpdateNormalizerRequest& request);
  absl::StatusOr<NormalizerPtr> DoReset(
      const v1::ResetStatisticsRequest& request);
  absl::StatusOr<NormalizerPtr> SetFrozen(absl::string_view name, bool frozen);
  absl::Status DoDelete(const v1::DeleteNormalizerRequest& request);
  // What is read: the statistics of now, or those of a snapshot if not null.
  struct Readable {
    NormalizerPtr normalizer;
    SharedSnapshot snapshot;
  };
  absl::StatusOr<Readable> FindReadable(const std::string& name,
                                        uint64_t schema_hash) const;
  absl::Status NormalizeOnSnapshot(const v1::NormalizeRequest& request,
                                   absl::string_view data,
                                   const OutputSpace& space,
                                   v1::NormalizeResponse* response) const;
  absl::Status DoDenormalize(const v1::DenormalizeRequest& request,
                             v1::DenormalizeResponse* response) const;
  absl::Status DoGetStatistics(const v1::GetStatisticsRequest& request,
                               v1::Statistics* response) const;

  // Answers with the normalizer once its change is on disk.
  void AnswerWhenDurable(absl::StatusOr<NormalizerPtr> normalizer,
                         v1::Normalizer* response, Done done);

  // `response` is a NormalizeResponse or a MergeMomentsResponse.
  template <typename Response>
  void FillUpdate(const UpdateOutcome& outcome, Response* response) const;
  void CountUpdate(const UpdateOutcome& outcome) const;
  template <typename Response>
  void FinishUpdate(Update update, Response* response, Done done);

  // Once the disk has it.
  template <typename Response>
  static void NoteDurable(const Update& update, Response* response);

  const Options options_;
  Registry* const registry_;
  SessionTable* const sessions_;
  CommitQueue* const queue_;
  const Committer* const committer_;
  mutable WorkMetrics work_;
};

}  // namespace streamnorm

#endif  // STREAMNORM_SERVER_HANDLER_H_
