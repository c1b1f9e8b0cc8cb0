#ifndef STREAMNORM_CLIENT_CLI_NORMALIZER_VIEW_H_
#define STREAMNORM_CLIENT_CLI_NORMALIZER_VIEW_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/cli/output.h"
#include "client/cli/table.h"
#include "streamnorm/v1/normalizer.pb.h"

namespace streamnorm {

// To stdout: JSON, the id alone, or a line per property.
absl::Status PrintNormalizer(const v1::Normalizer& normalizer,
                             OutputFormat format);

// One line per property.
Table DescribeNormalizer(const v1::Normalizer& normalizer);

// One line per normalizer; `wide` has more columns.
Table ListNormalizersTable(const std::vector<v1::Normalizer>& normalizers,
                           bool wide);

// The same, everything, with a header.
std::string ListNormalizersCsv(const std::vector<v1::Normalizer>& normalizers);

// "standard", "standard, INSIDE_SQRT 1e-05, clip 10" and so on.
std::string DescribeScaling(const v1::Scaling& scaling);

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_NORMALIZER_VIEW_H_
