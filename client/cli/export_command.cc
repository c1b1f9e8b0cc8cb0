// export, import.

#include <bit>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/exit_code.h"
#include "client/cli/normalizer_export.h"
#include "client/cli/npy.h"
#include "client/cli/output_file.h"
#include "client/cli/progress.h"

namespace streamnorm {
namespace {

struct ExportFlags {
  std::string id;
  std::string format = "json";
  std::string dtype = "float32";
  std::string out;
};

struct ImportFlags {
  std::string file;
  std::string as;
};

constexpr char kExportHelp[] =
    "ID may be a snapshot: layer3/snapshots/epoch-3. Formats:\n"
    "  json         everything the server tells: what the normalizer is, and\n"
    "               its statistics; every number reads back as the very same.\n"
    "               'import' makes a normalizer of it\n"
    "  csv          feature, name, count, mean, variance, sd, min, max\n"
    "  safetensors  running_mean, running_var, num_batches_tracked: what\n"
    "               torch.nn.BatchNorm1d.load_state_dict takes. The variance "
    "is\n"
    "               the population's\n"
    "  sklearn      mean_, var_, scale_, n_samples_seen_ of a StandardScaler\n"
    "\n"
    "Examples:\n"
    "  streamnorm export layer3 -O layer3.json\n"
    "  streamnorm export layer3 --format safetensors -O layer3.safetensors";

constexpr char kImportHelp[] =
    "Makes the normalizer that 'export --format json' wrote. Counts, means "
    "and\n"
    "extremes come back bit for bit. A variance may differ in its last bit: "
    "the\n"
    "server keeps more of it than it tells. Not restored: the revision, how\n"
    "many values were skipped, times. A window that fades is refused\n"
    "(its weights can't be merged); to move whole stores see 'backup'.\n"
    "\n"
    "If there is one of that name already, it is an error unless it is the\n"
    "same, or the same without rows.\n"
    "\n"
    "Example:\n"
    "  streamnorm import layer3.json --as layer3-copy";

absl::StatusOr<int> Export(const Globals& globals, const ExportFlags& flags) {
  if (!globals.output.empty()) {
    return UsageError("--output: set, want --format and --out with 'export'");
  }
  const auto client = Connect(globals);
  if (!client.ok()) return client.status();
  const auto exported = ReadForExport(client->get(), flags.id);
  if (!exported.ok()) return exported.status();
  std::string bytes;
  if (flags.format == "csv") {
    bytes = ExportCsv(*exported);
  } else if (flags.format == "safetensors") {
    bytes = ExportSafetensors(*exported, *ParseNumpyName(flags.dtype));
  } else if (flags.format == "sklearn") {
    bytes = ExportSklearn(*exported);
  } else {
    bytes = ExportJson(*exported);
  }
  const auto file = OutputFile::Open(flags.out);
  if (!file.ok()) return file.status();
  if (auto s = (*file)->Append(bytes); !s.ok()) return s;
  if (auto s = (*file)->Flush(); !s.ok()) return s;
  return kExitOk;
}

absl::StatusOr<std::string> ReadAll(const std::string& path) {
  auto bytes = OpenFile(path, /*stop_fd=*/-1);
  if (!bytes.ok()) return bytes.status();
  BufferedInput input(*std::move(bytes));
  std::string text;
  while (true) {
    const auto part = input.Peek(1);
    if (!part.ok()) return part.status();
    if (part->empty()) return text;
    text.append(part->data(), part->size());
    input.Skip(part->size());
  }
}

// What people set, without what the server adds.
v1::Normalizer Definition(v1::Normalizer normalizer) {
  normalizer.clear_name();
  normalizer.clear_schema_hash();
  normalizer.clear_frozen();
  normalizer.clear_revision();
  normalizer.clear_row_count();
  normalizer.clear_generation();
  normalizer.clear_create_time();
  normalizer.clear_update_time();
  normalizer.clear_etag();
  return normalizer;
}

bool SameDefinition(const v1::Normalizer& a, const v1::Normalizer& b) {
  return ToJson(Definition(a), false) == ToJson(Definition(b), false);
}

bool SameBits(double a, double b) {
  return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b);
}

// The last bit of a variance is not restored.
bool SameVariance(double a, double b) {
  return a == b || b == std::nextafter(a, b);
}

bool SameStatistics(const ExportedNormalizer& a, const ExportedNormalizer& b) {
  if (a.statistics.row_count != b.statistics.row_count) return false;
  for (size_t j = 0; j < a.statistics.features.size(); ++j) {
    const auto& x = a.statistics.features[j];
    const auto& y = b.statistics.features[j];
    if (x.count() != y.count() || !SameBits(x.mean(), y.mean()) ||
        !SameVariance(x.variance(), y.variance()) ||
        !SameBits(x.minimum(), y.minimum()) ||
        !SameBits(x.maximum(), y.maximum())) {
      return false;
    }
  }
  return true;
}

// A sum of squares that comes nearest to `variance` when divided again.
double SquaresOf(double variance, double count) {
  const double m2 = variance * count;
  for (const double near :
       {m2, std::nextafter(m2, HUGE_VAL), std::nextafter(m2, 0)}) {
    if (near / count == variance) return near;
  }
  return m2;
}

v1::MergeMomentsRequest MergeOf(const ExportedNormalizer& exported,
                                const std::string& name) {
  v1::MergeMomentsRequest merge;
  merge.set_name(name);
  merge.set_count(exported.statistics.row_count);
  const auto append = [](auto value, std::string* bytes) {
    bytes->append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  bool extremes = true;
  std::string minimum, maximum;
  for (const auto& f : exported.statistics.features) {
    append(uint64_t{f.count()}, merge.mutable_feature_counts());
    append(f.mean(), merge.mutable_mean());
    append(SquaresOf(f.variance(), static_cast<double>(f.count())),
           merge.mutable_m2());
    append(f.minimum(), &minimum);
    append(f.maximum(), &maximum);
    // Merged without extremes there are none, and 0 is told.
    extremes = extremes && (f.count() == 0 || (f.minimum() <= f.mean() &&
                                               f.mean() <= f.maximum()));
  }
  if (extremes) {
    merge.set_minimum(minimum);
    merge.set_maximum(maximum);
  }
  return merge;
}

absl::Status MergeInto(Client* client, const ExportedNormalizer& exported,
                       const std::string& name) {
  if (exported.statistics.row_count == 0) return absl::OkStatus();
  auto session = client->OpenSession("streamnorm import");
  if (!session.ok()) return session.status();
  const auto answer = (*session)->MergeMoments(MergeOf(exported, name));
  if (!answer.ok()) return answer.status();
  return (*session)->Close();
}

absl::StatusOr<int> Import(const Globals& globals, const ImportFlags& flags) {
  const auto text = ReadAll(flags.file);
  if (!text.ok()) return text.status();
  const auto exported = ParseExport(*text);
  if (!exported.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(flags.file, ": ", exported.status().message()));
  }
  if (exported->normalizer.window().kind() == v1::Window::HALF_LIFE_ROWS &&
      exported->statistics.row_count > 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        flags.file,
        ": its window fades, want a cumulative one: the weights of "
        "old rows can't be merged; 'backup' moves whole stores"));
  }
  const std::string from = IdOf(exported->normalizer.name());
  const std::string id =
      flags.as.empty() ? from.substr(0, from.find('/')) : IdOf(flags.as);
  const auto client = Connect(globals);
  if (!client.ok()) return client.status();
  v1::CreateNormalizerRequest create;
  create.set_normalizer_id(id);
  *create.mutable_normalizer() = Definition(exported->normalizer);
  auto made = (*client)->CreateNormalizer(create);
  if (absl::IsAlreadyExists(made.status())) {
    const auto there = ReadForExport(client->get(), id);
    if (!there.ok()) return there.status();
    const bool same = SameDefinition(there->normalizer, exported->normalizer);
    if (same && SameStatistics(*exported, *there)) {
      Say(absl::StrCat(there->normalizer.name(), " is the same already"));
      return kExitOk;
    }
    if (!same || there->statistics.row_count > 0) {
      return absl::AlreadyExistsError(
          absl::StrCat(there->normalizer.name(),
                       " exists and is another one; take another "
                       "id with --as, or delete it"));
    }
    made = there->normalizer;  // an import that was cut short
  }
  if (!made.ok()) return made.status();
  if (auto s = MergeInto(client->get(), *exported, made->name()); !s.ok()) {
    return s;
  }
  const auto now = ReadForExport(client->get(), id);
  if (!now.ok()) return now.status();
  if (!SameStatistics(*exported, *now)) {
    return absl::InternalError(
        absl::StrCat(made->name(), " has other statistics than ", flags.file,
                     " now; were rows counted meanwhile?"));
  }
  Say(absl::StrCat("imported ", made->name(), " (",
                   Counted(exported->statistics.row_count, "row"), ")"));
  return kExitOk;
}

}  // namespace

void AddExportCommands(CommandLine* line) {
  const auto flags = std::make_shared<ExportFlags>();
  CLI::App* out = line->Add(
      "export", "Writes a normalizer for other programs, or for 'import'",
      kNormalizerGroup,
      [flags](const Globals& globals) { return Export(globals, *flags); });
  out->add_option("ID", flags->id, "Of a normalizer or a snapshot")
      ->option_text(" ")
      ->required();
  out->add_option("--format", flags->format,
                  "json (default), csv, safetensors or sklearn")
      ->option_text("FORMAT")
      ->check(CLI::IsMember({"json", "csv", "safetensors", "sklearn"}));
  out->add_option("--dtype", flags->dtype,
                  "Of safetensors: float32 (default) or float64")
      ->option_text("TYPE")
      ->check(CLI::IsMember({"float32", "float64"}));
  out->add_option("-O,--out", flags->out, "Where to (default: stdout)")
      ->option_text("FILE");
  out->footer(kExportHelp);

  const auto import_flags = std::make_shared<ImportFlags>();
  CLI::App* in =
      line->Add("import", "Makes a normalizer that 'export' wrote",
                kNormalizerGroup, [import_flags](const Globals& globals) {
                  return Import(globals, *import_flags);
                });
  in->add_option("FILE", import_flags->file, "JSON; '-' = stdin")
      ->option_text(" ")
      ->required();
  in->add_option("--as", import_flags->as, "Its id (default: the old one)")
      ->option_text("ID");
  in->footer(kImportHelp);
}

}  // namespace streamnorm
