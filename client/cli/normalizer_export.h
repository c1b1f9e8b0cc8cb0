#ifndef STREAMNORM_CLIENT_CLI_NORMALIZER_EXPORT_H_
#define STREAMNORM_CLIENT_CLI_NORMALIZER_EXPORT_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/cli/statistics_query.h"
#include "client/streamnorm_client.h"
#include "stats/tensor_view.h"

namespace streamnorm {

// A normalizer as it is at one revision: what it is, and the statistics of all
// of its features.
struct ExportedNormalizer {
  v1::Normalizer normalizer;
  StatisticsTable statistics;
};

// Of the normalizer or snapshot `id`. ABORTED if rows are counted all the time.
absl::StatusOr<ExportedNormalizer> ReadForExport(Client* client,
                                                 const std::string& id);

// Everything the server tells, every double so that it reads back as the very
// same, with a checksum.
std::string ExportJson(const ExportedNormalizer& exported);

// The other way round. INVALID_ARGUMENT if it is something else, was changed or
// is cut off.
absl::StatusOr<ExportedNormalizer> ParseExport(absl::string_view json);

// feature, name, count, mean, variance, sd, min, max.
std::string ExportCsv(const ExportedNormalizer& exported);

// The buffers of a torch.nn.BatchNorm: running_mean and running_var (the
// population's) of `type`, num_batches_tracked (the updates).
// REQUIRES: type is kFp32 or kFp64.
std::string ExportSafetensors(const ExportedNormalizer& exported,
                              DataType type);

// The attributes of a fitted scikit-learn StandardScaler, as JSON.
std::string ExportSklearn(const ExportedNormalizer& exported);

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_NORMALIZER_EXPORT_H_
