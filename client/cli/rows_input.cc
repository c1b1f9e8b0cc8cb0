#include "client/cli/rows_input.h"

#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/command_line.h"
#include "client/cli/exit_code.h"
#include "client/cli/output.h"
#include "client/cli/progress.h"

namespace streamnorm {
namespace {

absl::StatusOr<char> ParseDelimiter(const RowsInputFlags& flags,
                                    const std::string& path) {
  const std::string& text = flags.delimiter;
  if (text.empty()) {
    return absl::EndsWith(path, ".tsv") ? '\t' : ',';
  }
  if (text == "tab" || text == "\\t") return '\t';
  if (text.size() == 1 && text != "\"" && text != "\n") return text[0];
  return UsageError(
      absl::StrCat("--delimiter: '", text, "', want one character, or tab"));
}

}  // namespace

void AddRowsInputOptions(CLI::App* command, RowsInputFlags* flags) {
  command
      ->add_option("--format", flags->format,
                   "Of the input: csv, npy, ndjson; auto = by its first bytes")
      ->option_text("FORMAT")
      ->check(CLI::IsMember({"auto", "csv", "npy", "ndjson"}));
  command
      ->add_option("--delimiter", flags->delimiter,
                   "Between CSV cells: a character, or tab (default ',', tab "
                   "for .tsv)")
      ->option_text("C");
  CLI::Option* header =
      command->add_flag("--header", flags->header, "The CSV has a header")
          ->option_text(" ");
  command->add_flag("--no-header", flags->no_header, "The CSV has none")
      ->excludes(header);
  command
      ->add_option("--columns", flags->columns,
                   "CSV columns that are features, by name or by number from "
                   "1, in the order of the features")
      ->option_text("A,3,5-8");
}

absl::StatusOr<RowsSourceOptions> RowsSourceOptionsOf(
    const RowsInputFlags& flags, const std::string& path) {
  const auto delimiter = ParseDelimiter(flags, path);
  if (!delimiter.ok()) return delimiter.status();
  RowsSourceOptions options;
  options.delimiter = *delimiter;
  options.columns = flags.columns;
  if (flags.format == "csv") options.format = RowsSourceOptions::Format::kCsv;
  if (flags.format == "npy") options.format = RowsSourceOptions::Format::kNpy;
  if (flags.format == "ndjson") {
    options.format = RowsSourceOptions::Format::kNdjson;
  }
  if (flags.header) options.header = RowsSourceOptions::Header::kPresent;
  if (flags.no_header) options.header = RowsSourceOptions::Header::kAbsent;
  return options;
}

absl::Status BindTo(const v1::Normalizer& normalizer, RowsSource* source) {
  const auto& names = normalizer.feature_names();
  return source->Bind(static_cast<size_t>(normalizer.features()),
                      {names.begin(), names.end()});
}

absl::StatusOr<v1::Normalizer> CreateNormalizerFor(Client* client,
                                                   const std::string& id,
                                                   const std::string& preset,
                                                   const RowsSource& source) {
  v1::CreateNormalizerRequest request;
  request.set_normalizer_id(id);
  v1::Normalizer* wanted = request.mutable_normalizer();
  wanted->set_features(static_cast<int64_t>(source.features()));
  for (std::string& name : source.feature_names()) {
    wanted->add_feature_names(std::move(name));
  }
  wanted->mutable_scaling()->set_preset(preset);
  auto normalizer = client->CreateNormalizer(request);
  if (absl::IsAlreadyExists(normalizer.status())) {
    return client->GetNormalizer(id);  // someone was faster
  }
  if (normalizer.ok()) {
    Say(absl::StrCat("created ", normalizer->name(), " (",
                     Counted(source.features(), "feature"), ")"));
  }
  return normalizer;
}

absl::Status CheckNonfinite(const v1::Normalizer& normalizer,
                            const RowsSource& source, const RowBatch& batch) {
  const v1::NonfinitePolicy& policy = normalizer.nonfinite();
  const bool allow_nan = policy.nan() != v1::NonfinitePolicy::REJECT;
  const bool allow_infinity = policy.infinity() == v1::NonfinitePolicy::SKIP;
  if (allow_nan && allow_infinity) return absl::OkStatus();
  std::vector<double> values(batch.features);
  for (size_t row = 0; row < batch.rows; ++row) {
    LoadAsDouble(batch.view(), row * batch.features, batch.features,
                 values.data());
    for (size_t j = 0; j < batch.features; ++j) {
      if (std::isfinite(values[j])) continue;
      const bool nan = std::isnan(values[j]);
      if (nan ? allow_nan : allow_infinity) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          source.Place(batch, row, j), ": ",
          nan ? "a missing value" : "an infinite value", ", which ",
          normalizer.name(), " rejects (its nonfinite.",
          nan ? "nan" : "infinity", ")"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> MaxMessageBytes(Client* client) {
  const auto info = client->GetServerInfo();
  if (!info.ok()) return info.status();
  const auto limit = info->limits().find("max_message_bytes");
  constexpr uint64_t kAlwaysAccepted = uint64_t{4} << 20;  // gRPC's default
  return limit == info->limits().end() ? kAlwaysAccepted
                                       : static_cast<uint64_t>(limit->second);
}

}  // namespace streamnorm
