// create.

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/commands.h"
#include "client/cli/csv.h"
#include "client/cli/exit_code.h"
#include "client/cli/normalizer_view.h"

namespace streamnorm {
namespace {

struct Flags {
  std::string id;
  int64_t features = 0;
  std::string names;
  std::string names_from;
  std::string preset;
  std::string epsilon_mode;
  std::optional<double> epsilon;
  std::optional<double> clip;
  bool no_center = false;
  bool no_scale = false;
  std::string nan;
  std::string infinity;
  std::optional<uint64_t> minimum_rows;
  std::string warm_up;
  std::string prior_mean;
  std::string prior_variance;
  double prior_rows = 0;
  std::optional<double> window_rows;
  std::optional<double> half_life_rows;
  std::string moments;
  std::vector<std::string> labels;
  bool if_not_exists = false;
  bool validate_only = false;
};

absl::StatusOr<std::vector<double>> ParseNumbers(const char* option,
                                                 const std::string& text) {
  std::vector<double> numbers;
  for (const absl::string_view item : absl::StrSplit(text, ',')) {
    double number = 0;
    if (!absl::SimpleAtod(item, &number)) {
      return UsageError(absl::StrCat(option, ": '", item,
                                     "', want a number, or one per feature "
                                     "with commas between"));
    }
    numbers.push_back(number);
  }
  return numbers;
}

absl::StatusOr<std::vector<std::string>> HeaderOf(const std::string& path) {
  auto bytes = OpenFile(path, /*stop_fd=*/-1);
  if (!bytes.ok()) return bytes.status();
  BufferedInput input(*std::move(bytes));
  CsvReader reader(&input, ',');
  CsvRecord record;
  const auto more = reader.Next(&record);
  if (!more.ok()) return more.status();
  if (!*more || !LooksLikeHeader(record)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path,
                     ": no header, want the names of the features on "
                     "the first line"));
  }
  std::vector<std::string> names;
  for (size_t i = 0; i < record.size(); ++i) names.emplace_back(record.cell(i));
  return names;
}

absl::Status SetFeatures(const Flags& flags, v1::Normalizer* normalizer) {
  const int given =
      (flags.features != 0) + !flags.names.empty() + !flags.names_from.empty();
  if (given != 1) {
    return UsageError(
        "create: want one of --features, --names and --names-from");
  }
  normalizer->set_features(flags.features);
  if (flags.features != 0) return absl::OkStatus();
  std::vector<std::string> names = absl::StrSplit(flags.names, ',');
  if (!flags.names_from.empty()) {
    auto header = HeaderOf(flags.names_from);
    if (!header.ok()) return header.status();
    names = *std::move(header);
  }
  normalizer->set_features(static_cast<int64_t>(names.size()));
  for (std::string& name : names) {
    normalizer->add_feature_names(std::move(name));
  }
  return absl::OkStatus();
}

void SetScaling(const Flags& flags, v1::Scaling* scaling) {
  scaling->set_preset(flags.preset);
  v1::Scaling::EpsilonMode mode;
  if (v1::Scaling::EpsilonMode_Parse(flags.epsilon_mode, &mode)) {
    scaling->set_epsilon_mode(mode);
  }
  if (flags.epsilon) scaling->set_epsilon(*flags.epsilon);
  if (flags.clip) scaling->set_clip(*flags.clip);
  if (flags.no_center) scaling->set_center(false);
  if (flags.no_scale) scaling->set_scale(false);
}

v1::NonfinitePolicy::Policy PolicyOf(const std::string& text) {
  if (text == "skip") return v1::NonfinitePolicy::SKIP;
  if (text == "reject") return v1::NonfinitePolicy::REJECT;
  return v1::NonfinitePolicy::POLICY_UNSPECIFIED;
}

absl::Status SetPrior(const Flags& flags, v1::WarmUp* warm_up) {
  const bool given = !flags.prior_mean.empty() ||
                     !flags.prior_variance.empty() || flags.prior_rows != 0;
  if (warm_up->answer() != v1::WarmUp::PRIOR) {
    if (!given) return absl::OkStatus();
    return UsageError("--prior-...: set, want --warm-up prior with it");
  }
  if (flags.prior_mean.empty() || flags.prior_variance.empty() ||
      flags.prior_rows == 0) {
    return UsageError(
        "--warm-up: prior, want --prior-mean, --prior-variance and "
        "--prior-rows with it");
  }
  const auto mean = ParseNumbers("--prior-mean", flags.prior_mean);
  if (!mean.ok()) return mean.status();
  const auto variance = ParseNumbers("--prior-variance", flags.prior_variance);
  if (!variance.ok()) return variance.status();
  v1::WarmUp::Prior* prior = warm_up->mutable_prior();
  prior->mutable_mean()->Assign(mean->begin(), mean->end());
  prior->mutable_variance()->Assign(variance->begin(), variance->end());
  prior->set_pseudo_rows(flags.prior_rows);
  return absl::OkStatus();
}

absl::Status SetWarmUp(const Flags& flags, v1::WarmUp* warm_up) {
  if (flags.minimum_rows) warm_up->set_minimum_rows(*flags.minimum_rows);
  v1::WarmUp::Answer answer;
  if (v1::WarmUp::Answer_Parse(flags.warm_up, &answer)) {
    warm_up->set_answer(answer);
  }
  return SetPrior(flags, warm_up);
}

absl::Status SetWindow(const Flags& flags, v1::Normalizer* normalizer) {
  if (flags.window_rows && flags.half_life_rows) {
    return UsageError("create: want one of --window-rows and --half-life-rows");
  }
  if (flags.window_rows) {
    normalizer->mutable_window()->set_window_rows(*flags.window_rows);
  }
  if (flags.half_life_rows) {
    normalizer->mutable_window()->set_half_life_rows(*flags.half_life_rows);
  }
  if (flags.moments == "mean") normalizer->set_moments(v1::Normalizer::MEAN);
  return absl::OkStatus();
}

absl::Status SetLabels(const Flags& flags, v1::Normalizer* normalizer) {
  for (const std::string& label : flags.labels) {
    const size_t equals = label.find('=');
    if (equals == std::string::npos) {
      return UsageError(absl::StrCat("--label: '", label, "', want KEY=VALUE"));
    }
    (*normalizer->mutable_labels())[label.substr(0, equals)] =
        label.substr(equals + 1);
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::CreateNormalizerRequest> MakeRequest(const Flags& flags) {
  v1::CreateNormalizerRequest request;
  request.set_normalizer_id(IdOf(flags.id));
  request.set_validate_only(flags.validate_only);
  v1::Normalizer* normalizer = request.mutable_normalizer();
  if (auto s = SetFeatures(flags, normalizer); !s.ok()) return s;
  SetScaling(flags, normalizer->mutable_scaling());
  normalizer->mutable_nonfinite()->set_nan(PolicyOf(flags.nan));
  normalizer->mutable_nonfinite()->set_infinity(PolicyOf(flags.infinity));
  if (auto s = SetWarmUp(flags, normalizer->mutable_warm_up()); !s.ok()) {
    return s;
  }
  if (auto s = SetWindow(flags, normalizer); !s.ok()) return s;
  if (auto s = SetLabels(flags, normalizer); !s.ok()) return s;
  return request;
}

// The one that exists, if its features are those that were asked for.
absl::StatusOr<v1::Normalizer> Existing(Client* client,
                                        const v1::Normalizer& wanted,
                                        const std::string& id) {
  auto existing = client->GetNormalizer(id);
  if (!existing.ok()) return existing;
  const auto& names = wanted.feature_names();
  const bool same_names =
      names.empty() ||
      std::equal(names.begin(), names.end(), existing->feature_names().begin(),
                 existing->feature_names().end());
  if (existing->features() != wanted.features()) {
    return absl::FailedPreconditionError(absl::StrCat(
        existing->name(), ": exists with ", existing->features(),
        " features, want ", wanted.features(), "; take another id"));
  }
  if (!same_names) {
    return absl::FailedPreconditionError(
        absl::StrCat(existing->name(),
                     ": exists with other feature names; take another id"));
  }
  return existing;
}

absl::StatusOr<int> Create(const Globals& globals, const Flags& flags) {
  const auto format = ChooseFormat(
      globals.format(), {OutputFormat::kTable, OutputFormat::kJson,
                         OutputFormat::kNdjson, OutputFormat::kName});
  if (!format.ok()) return format.status();
  const auto request = MakeRequest(flags);
  if (!request.ok()) return request.status();
  auto client = Connect(globals);
  if (!client.ok()) return client.status();
  auto normalizer = (*client)->CreateNormalizer(*request);
  const char* done = flags.validate_only ? "would create" : "created";
  if (flags.if_not_exists && absl::IsAlreadyExists(normalizer.status())) {
    done = "exists already:";
    normalizer = Existing(client->get(), request->normalizer(),
                          request->normalizer_id());
  }
  if (absl::IsInvalidArgument(normalizer.status())) {
    return UsageError(normalizer.status().message());
  }
  if (!normalizer.ok()) return normalizer.status();
  Say(absl::StrCat(done, " ", normalizer->name(), " (", normalizer->features(),
                   normalizer->features() == 1 ? " feature)" : " features)"));
  if (globals.format()) {
    if (auto s = PrintNormalizer(*normalizer, *format); !s.ok()) return s;
  }
  return kExitOk;
}

void AddFeatureOptions(CLI::App* command, Flags* flags) {
  command->add_option("--features", flags->features, "How many a row has")
      ->option_text("N")
      ->check(MoreThanZero);
  command
      ->add_option("--names", flags->names,
                   "Their names, with commas between; files are then read by "
                   "their header")
      ->option_text("A,B,...");
  command
      ->add_option("--names-from", flags->names_from,
                   "CSV file whose header has the names")
      ->option_text("FILE");
}

void AddScalingOptions(CLI::App* command, Flags* flags) {
  command
      ->add_option("--preset", flags->preset,
                   "Rule of a known library: standard (default), batchnorm, "
                   "vecnormalize, rsl_rl, keras, lerobot, minmax, maxabs")
      ->option_text("NAME");
  command
      ->add_option("--epsilon-mode", flags->epsilon_mode,
                   "NONE, INSIDE_SQRT, ADD_TO_STD or FLOOR_STD")
      ->option_text("MODE")
      ->transform(
          CLI::IsMember({"NONE", "INSIDE_SQRT", "ADD_TO_STD", "FLOOR_STD"},
                        CLI::ignore_case));
  command->add_option("--epsilon", flags->epsilon, "Where the mode puts it")
      ->option_text("E");
  command
      ->add_option("--clip", flags->clip, "Limit outputs to +-C; 0 = no limit")
      ->option_text("C");
  command->add_flag("--no-center", flags->no_center, "Don't subtract the mean");
  command->add_flag("--no-scale", flags->no_scale,
                    "Don't divide by the standard deviation");
}

void AddWindowOptions(CLI::App* command, Flags* flags) {
  command
      ->add_option("--window-rows", flags->window_rows,
                   "Rows fade: each counts 1 - 1/N as much after the next one "
                   "(default: all count alike)")
      ->option_text("N");
  command
      ->add_option("--half-life-rows", flags->half_life_rows,
                   "The same, said by when they count half")
      ->option_text("N");
  command
      ->add_option("--moments", flags->moments,
                   "What is kept: mean-and-variance (default) or mean")
      ->option_text("KIND")
      ->check(CLI::IsMember({"mean-and-variance", "mean"}));
}

void AddPolicyOptions(CLI::App* command, Flags* flags) {
  command
      ->add_option("--nan", flags->nan,
                   "What happens to NaN: skip (default) or reject")
      ->option_text("POLICY")
      ->check(CLI::IsMember({"skip", "reject"}));
  command
      ->add_option("--infinity", flags->infinity,
                   "And to infinities: reject (default) or skip")
      ->option_text("POLICY")
      ->check(CLI::IsMember({"skip", "reject"}));
  command
      ->add_option("--minimum-rows", flags->minimum_rows,
                   "It is warming up below so many rows (default 2)")
      ->option_text("N");
  command
      ->add_option("--warm-up", flags->warm_up,
                   "What is answered meanwhile: center (default), error, "
                   "identity or prior")
      ->option_text("ANSWER")
      ->transform(CLI::IsMember({"CENTER", "ERROR", "IDENTITY", "PRIOR"},
                                CLI::ignore_case));
  command
      ->add_option("--prior-mean", flags->prior_mean,
                   "Of the prior: one number, or one per feature")
      ->option_text("M,...");
  command->add_option("--prior-variance", flags->prior_variance, "Likewise")
      ->option_text("V,...");
  command
      ->add_option("--prior-rows", flags->prior_rows,
                   "How many rows the prior weighs")
      ->option_text("N");
}

}  // namespace

void AddCreateCommand(CommandLine* line) {
  const auto flags = std::make_shared<Flags>();
  CLI::App* command = line->Add(
      "create", "Makes a normalizer", kNormalizerGroup,
      [flags](const Globals& globals) { return Create(globals, *flags); });
  command
      ->add_option("ID", flags->id,
                   "Small letters, digits, '.', '_' and '-'; a letter first")
      ->option_text(" ")
      ->required();
  AddFeatureOptions(command, flags.get());
  AddScalingOptions(command, flags.get());
  AddWindowOptions(command, flags.get());
  AddPolicyOptions(command, flags.get());
  command
      ->add_option("--label", flags->labels,
                   "For your own use; may be repeated")
      ->option_text("KEY=VALUE")
      ->allow_extra_args(false);
  command->add_flag("--if-not-exists", flags->if_not_exists,
                    "It is no error if there is one with these features");
  command->add_flag("--validate-only", flags->validate_only,
                    "Check everything, make nothing");
}

}  // namespace streamnorm
