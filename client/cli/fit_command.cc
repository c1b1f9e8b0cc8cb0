// fit.

#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/commands.h"
#include "client/cli/csv.h"
#include "client/cli/exit_code.h"
#include "client/cli/fit_rows.h"
#include "client/cli/normalize_rows.h"
#include "client/cli/progress.h"
#include "client/cli/rows_input.h"
#include "client/cli/stop_signal.h"

namespace streamnorm {
namespace {

struct Flags {
  std::string id;
  std::vector<std::string> files;
  RowsInputFlags input;
  size_t batch_rows = 0;  // 0 = by bytes
  bool create = false;
  std::string preset;
  std::string checkpoint;
  double checkpoint_interval_s = 3;
  bool no_checkpoint = false;
  bool restart = false;
  bool mended = false;
  bool dry_run = false;
};

// A request costs little beside so many values, and many of them fit into the
// memory of both sides.
constexpr size_t kBatchBytes = size_t{512} << 10;

constexpr char kHelp[] =
    "Counts the rows of CSV, NPY and NDJSON files, which may be larger than\n"
    "the memory; what comes out is a summary. FILE '-' is stdin.\n"
    "\n"
    "NDJSON has a row on every line: [1, 2, null], or {\"a\": 1, \"b\": 2} "
    "with\n"
    "features by name. CSV and NPY are as for 'normalize'.\n"
    "\n"
    "It is resumable: every few seconds it saves, beside the first file, how\n"
    "far it is. After Ctrl-C, a crash or kill -9 the same command goes on "
    "from\n"
    "there, and every row counts exactly once. A row that can't be read stops\n"
    "it; once the file is mended, --mended goes on. A normalizer that was\n"
    "reset meanwhile, or an input that changed, is an error: reset it and\n"
    "begin anew with --restart. Rows from stdin come only once: no "
    "checkpoint.\n"
    "\n"
    "Examples:\n"
    "  streamnorm fit housing train.csv --create\n"
    "  streamnorm fit layer3 day1.npy day2.npy -o json\n"
    "  zcat rows.csv.gz | streamnorm fit layer3 -";

std::string NameOf(const Flags& flags) {
  return absl::StrCat("normalizers/", IdOf(flags.id));
}

absl::Status CheckFlags(const Flags& flags) {
  if (!flags.preset.empty() && !flags.create) {
    return UsageError("--preset: set, want --create with it");
  }
  if (flags.restart && flags.mended) {
    return UsageError("--restart and --mended: want one of the two");
  }
  if (std::count(flags.files.begin(), flags.files.end(), "-") > 1) {
    return UsageError("FILE: '-' twice, want stdin once");
  }
  return absl::OkStatus();
}

// Everything that decides what the rows of a file are.
std::string OptionsText(const RowsInputFlags& input) {
  return absl::StrCat("format=", input.format, " delimiter=", input.delimiter,
                      " header=", input.header, " no_header=", input.no_header,
                      " columns=", input.columns);
}

// Empty if one of them comes only once.
absl::StatusOr<std::vector<FileIdentity>> Identities(const Flags& flags) {
  std::vector<FileIdentity> identities;
  bool whole = true;
  for (const std::string& file : flags.files) {
    auto identity = IdentityOf(file);
    if (!identity.ok()) return identity.status();
    whole = whole && identity->has_value();
    if (whole) identities.push_back(**std::move(identity));
  }
  if (!whole) identities.clear();
  return identities;
}

std::string BeginAnew(const std::string& name) {
  return absl::StrCat("'streamnorm reset ", IdOf(name),
                      "', then begin anew with --restart");
}

// Where the checkpoint is, for people.
std::string PlaceOf(const FitCheckpoint& checkpoint) {
  const uint64_t rows = checkpoint.position ? checkpoint.position->rows : 0;
  if (checkpoint.file >= checkpoint.files.size()) return "the end";
  return absl::StrCat("row ", Grouped(rows + 1), " of ",
                      checkpoint.files[checkpoint.file].path);
}

absl::Status CheckFiles(const FitCheckpoint& checkpoint,
                        const std::vector<FileIdentity>& now, bool mended) {
  const auto same_path = [](const FileIdentity& a, const FileIdentity& b) {
    return a.path == b.path;
  };
  if (!std::equal(now.begin(), now.end(), checkpoint.files.begin(),
                  checkpoint.files.end(), same_path)) {
    return absl::FailedPreconditionError(
        "the checkpoint is of other files, want the same ones in the same "
        "order, or another --checkpoint");
  }
  for (size_t i = 0; i < now.size(); ++i) {
    const FileIdentity& was = checkpoint.files[i];
    const bool after = i >= checkpoint.file;
    const uint64_t counted_bytes = i == checkpoint.file && checkpoint.position
                                       ? checkpoint.position->bytes
                                       : 0;
    const bool may_change =
        mended && checkpoint.settled && after && now[i].size >= counted_bytes;
    if (now[i] == was || may_change) continue;
    const std::string what =
        now[i].size != was.size
            ? absl::StrCat("has ", now[i].size, " bytes, had ", was.size)
            : "was written to";
    return absl::FailedPreconditionError(absl::StrCat(
        was.path, " ", what, " since ", Counted(checkpoint.rows, "row"),
        " were counted; ",
        checkpoint.settled && after
            ? absl::StrCat("if what changed is from ", PlaceOf(checkpoint),
                           " on, go on with --mended; else ")
            : "",
        BeginAnew(checkpoint.normalizer)));
  }
  return absl::OkStatus();
}

absl::Status CheckResumable(const FitCheckpoint& checkpoint, const Flags& flags,
                            const absl::StatusOr<v1::Normalizer>& normalizer,
                            const std::vector<FileIdentity>& files) {
  if (checkpoint.normalizer != NameOf(flags)) {
    return absl::FailedPreconditionError(
        absl::StrCat("the checkpoint is of ", checkpoint.normalizer,
                     ", want --checkpoint with another file for this one"));
  }
  if (absl::IsNotFound(normalizer.status())) {
    return absl::FailedPreconditionError(
        absl::StrCat(checkpoint.normalizer, " was deleted since ",
                     Counted(checkpoint.rows, "row"),
                     " were counted; begin anew with --create --restart"));
  }
  if (!normalizer.ok()) return normalizer.status();
  if (checkpoint.generation != normalizer->generation()) {
    return absl::FailedPreconditionError(absl::StrCat(
        checkpoint.normalizer, " was reset, or deleted and made again, since ",
        Counted(checkpoint.rows, "row"),
        " were counted; begin anew with --restart"));
  }
  if (checkpoint.options != OptionsText(flags.input)) {
    return absl::FailedPreconditionError(
        absl::StrCat("the checkpoint is of a run with ", checkpoint.options,
                     ", want the same options"));
  }
  if (flags.batch_rows != 0 && flags.batch_rows != checkpoint.batch_rows) {
    return absl::FailedPreconditionError(
        absl::StrCat("--batch: the checkpoint is of a run with ",
                     checkpoint.batch_rows, ", want the same"));
  }
  return CheckFiles(checkpoint, files, flags.mended);
}

absl::Status About(const std::string& what, const absl::Status& status) {
  if (status.ok() || what.empty()) return status;
  absl::Status result(status.code(),
                      absl::StrCat(what, ": ", status.message()));
  return result;
}

// Opens and binds; the first file makes the normalizer where there is none.
class Files {
 public:
  Files(Client* client, const Flags& flags, int stop_fd)
      : client_(client), flags_(flags), stop_fd_(stop_fd) {}

  FitJob::Source Open(const std::string& path, v1::Normalizer* normalizer) {
    // Stdin was begun to be read when it was looked at.
    if (path == "-" && standard_input_) return std::move(standard_input_);
    const auto options = RowsSourceOptionsOf(flags_.input, path);
    if (!options.ok()) return options.status();
    auto bytes = OpenFile(path, stop_fd_);
    if (!bytes.ok()) return bytes.status();
    auto source = OpenRows(*std::move(bytes), *options);
    if (!source.ok()) return source.status();
    if (normalizer->name().empty()) {
      auto made = CreateNormalizerFor(client_, IdOf(flags_.id), flags_.preset,
                                      **source);
      if (!made.ok()) return made.status();
      *normalizer = *std::move(made);
    }
    if (auto s = BindTo(*normalizer, source->get()); !s.ok()) return s;
    return source;
  }

  // So that nothing is counted if the last file turns out to be another thing.
  absl::Status LookAtAll(v1::Normalizer* normalizer) {
    for (const std::string& path : flags_.files) {
      if (path != "-" && IsPipe(path)) continue;
      auto source = Open(path, normalizer);
      if (!source.ok()) return source.status();
      if (path == "-") standard_input_ = *std::move(source);
    }
    return absl::OkStatus();
  }

 private:
  static bool IsPipe(const std::string& path) {
    const auto identity = IdentityOf(path);
    return identity.ok() && !identity->has_value();
  }

  Client* const client_;
  const Flags& flags_;
  const int stop_fd_;
  std::unique_ptr<RowsSource> standard_input_;
};

absl::StatusOr<uint64_t> BatchRows(Client* client, const Flags& flags,
                                   int64_t features) {
  const auto most_bytes = MaxMessageBytes(client);
  if (!most_bytes.ok()) return most_bytes.status();
  const size_t row_bytes = static_cast<size_t>(features) * sizeof(double);
  const size_t wanted = flags.batch_rows != 0
                            ? flags.batch_rows
                            : std::max<size_t>(1, kBatchBytes / row_bytes);
  if (flags.batch_rows == 0 && wanted * row_bytes > *most_bytes / 2) {
    return ChooseBatchRows(1, row_bytes, *most_bytes);
  }
  return ChooseBatchRows(wanted, row_bytes, *most_bytes);
}

// Finds where to begin: job->checkpoint, its path and the normalizer.
absl::Status Prepare(const Flags& flags, Files* files, FitJob* job) {
  auto identities = Identities(flags);
  if (!identities.ok()) return identities.status();
  const bool resumable = !flags.no_checkpoint && !identities->empty();
  if (!resumable && !flags.checkpoint.empty()) {
    return UsageError(
        "--checkpoint: set, want files: rows from stdin come only once");
  }
  std::optional<FitCheckpoint> saved;
  if (resumable) {
    job->checkpoint_path = flags.checkpoint.empty()
                               ? flags.files.front() + ".streamnorm-fit"
                               : flags.checkpoint;
    if (!flags.restart) {
      auto loaded = LoadCheckpoint(job->checkpoint_path);
      if (!loaded.ok()) return loaded.status();
      saved = *std::move(loaded);
    }
  }
  auto normalizer = job->client->GetNormalizer(IdOf(flags.id));
  if (saved) {
    if (auto s = CheckResumable(*saved, flags, normalizer, *identities);
        !s.ok()) {
      return About(job->checkpoint_path, s);
    }
    saved->files = *std::move(identities);
    job->checkpoint = *std::move(saved);
    job->normalizer = *std::move(normalizer);
    Say(absl::StrCat("streamnorm: goes on from ", PlaceOf(job->checkpoint),
                     "; ", Counted(job->checkpoint.rows, "row"),
                     " before it are counted (", job->checkpoint_path, ")"));
    if (job->checkpoint.finished) return absl::OkStatus();
    return files->LookAtAll(&job->normalizer);
  }
  const bool create = absl::IsNotFound(normalizer.status()) && flags.create;
  if (!normalizer.ok() && !create) return normalizer.status();
  if (normalizer.ok()) job->normalizer = *std::move(normalizer);
  if (auto s = files->LookAtAll(&job->normalizer); !s.ok()) return s;
  FitCheckpoint& fresh = job->checkpoint;
  fresh.normalizer = NameOf(flags);
  fresh.generation = job->normalizer.generation();
  fresh.options = OptionsText(flags.input);
  fresh.files = *std::move(identities);
  const auto batch_rows =
      BatchRows(job->client, flags, job->normalizer.features());
  if (!batch_rows.ok()) return batch_rows.status();
  fresh.batch_rows = *batch_rows;
  return absl::OkStatus();
}

// What to do about an error in the middle.
absl::Status WithAdvice(const absl::Status& status, const FitJob& job) {
  const std::string reason = ErrorReason(status);
  const bool kept = !job.checkpoint_path.empty();
  const std::string counted =
      absl::StrCat("; ", Counted(job.checkpoint.rows, "row"), " are counted");
  std::string advice;
  absl::StatusCode code = status.code();
  if (reason == "SESSION_UNKNOWN" || reason == "HISTORY_LOST") {
    code = absl::StatusCode::kFailedPrecondition;
    advice = absl::StrCat(counted, " for sure, more may be: ",
                          BeginAnew(job.checkpoint.normalizer));
  } else if (reason == "EPOCH_FENCED") {
    advice = absl::StrCat(counted,
                          "; the same command was started again and "
                          "goes on instead of this one");
  } else if (job.checkpoint.settled) {
    advice = absl::StrCat(
        counted, ", and none after them",
        kept ? "; mend the file and run the same command with --mended" : "");
  } else {
    advice = absl::StrCat(
        counted, " for sure",
        kept ? "; the same command goes on from there" : ", more may be");
  }
  absl::Status result(code, absl::StrCat(status.message(), advice));
  if (reason == "NORMALIZER_FROZEN") {
    status.ForEachPayload([&](absl::string_view url, const absl::Cord& bytes) {
      result.SetPayload(url, bytes);
    });
  }
  return result;
}

absl::Status PrintSummary(const FitJob& job, const v1::Normalizer& now,
                          OutputFormat format) {
  const FitCheckpoint& done = job.checkpoint;
  if (format == OutputFormat::kName) return Print(absl::StrCat(job.id, "\n"));
  if (format == OutputFormat::kJson || format == OutputFormat::kNdjson) {
    const nlohmann::ordered_json json = {
        {"normalizer", now.name()},
        {"files", job.files},
        {"rows", done.rows},
        {"skipped_values", done.skipped_values},
        {"row_count", now.row_count()},
        {"revision", now.revision()}};
    return Print(json.dump(format == OutputFormat::kJson ? 1 : -1, ' ', false,
                           nlohmann::ordered_json::error_handler_t::replace) +
                 "\n");
  }
  const std::vector<std::string> cells = {now.name(),
                                          absl::StrCat(job.files.size()),
                                          absl::StrCat(done.rows),
                                          absl::StrCat(done.skipped_values),
                                          absl::StrCat(now.row_count()),
                                          absl::StrCat(now.revision())};
  if (format == OutputFormat::kCsv) {
    return Print(
        absl::StrCat(CsvLine({"normalizer", "files", "rows", "skipped_values",
                              "row_count", "revision"},
                             ','),
                     CsvLine(cells, ',')));
  }
  constexpr auto kRight = Table::Align::kRight;
  Table table({{"NORMALIZER"},
               {"FILES", kRight},
               {"ROWS", kRight},
               {"SKIPPED", kRight},
               {"ROW COUNT", kRight},
               {"REVISION", kRight}});
  table.AddRow(cells);
  return PrintTable(table);
}

absl::StatusOr<int> RunJob(FitJob* job, const StopSignal& stop,
                           OutputFormat format) {
  using Clock = std::chrono::steady_clock;
  Progress progress;
  std::optional<uint64_t> all_bytes;
  for (const FileIdentity& file : job->checkpoint.files) {
    all_bytes = all_bytes.value_or(0) + file.size;
  }
  const auto begin = Clock::now();
  const uint64_t rows_before = job->checkpoint.rows;
  std::optional<uint64_t> bytes_before;
  job->stop = [&] { return stop.requested(); };
  job->on_progress = [&](uint64_t rows, uint64_t bytes) {
    if (!bytes_before) bytes_before = rows_before == 0 ? 0 : bytes;
    std::optional<uint64_t> to_do;
    if (all_bytes) to_do = *all_bytes - std::min(*all_bytes, *bytes_before);
    progress.Show(rows - rows_before, bytes - *bytes_before, to_do);
  };
  const absl::Status status = FitRows(job);
  progress.Erase();
  const double seconds =
      std::chrono::duration<double>(Clock::now() - begin).count();
  if (absl::IsCancelled(status) && stop.requested()) {
    Say(absl::StrCat("streamnorm: interrupted, ",
                     Counted(job->checkpoint.rows, "row"), " are counted",
                     job->checkpoint_path.empty()
                         ? ""
                         : absl::StrCat("; the same command goes on from ",
                                        PlaceOf(job->checkpoint), " (",
                                        job->checkpoint_path, ")")));
    return 128 + stop.signal_number();
  }
  if (!status.ok()) return WithAdvice(status, *job);
  const double rate = static_cast<double>(job->checkpoint.rows - rows_before) /
                      std::max(seconds, 1e-3);
  Say(absl::StrCat("streamnorm: ", Counted(job->checkpoint.rows, "row"),
                   " counted, ",
                   Counted(job->checkpoint.skipped_values, "value"),
                   " skipped; ", absl::StrFormat("%.1f", seconds), " s, ",
                   Grouped(static_cast<uint64_t>(rate)), " rows/s"));
  const auto now = job->client->GetNormalizer(job->id);
  if (!now.ok()) return now.status();
  if (auto s = PrintSummary(*job, *now, format); !s.ok()) return s;
  return kExitOk;
}

// Reads all rows as they would be read, without a server.
absl::StatusOr<int> DryRun(const Flags& flags, const StopSignal& stop) {
  using Clock = std::chrono::steady_clock;
  Progress progress;
  const auto begin = Clock::now();
  uint64_t rows = 0;
  for (const std::string& path : flags.files) {
    const auto options = RowsSourceOptionsOf(flags.input, path);
    if (!options.ok()) return options.status();
    auto bytes = OpenFile(path, stop.fd());
    if (!bytes.ok()) return bytes.status();
    auto source = OpenRows(*std::move(bytes), *options);
    if (!source.ok()) return source.status();
    const size_t features = (*source)->features();
    if (auto s = (*source)->Bind(features, {}); !s.ok()) return s;
    const size_t most =
        std::max<size_t>(1, kBatchBytes / (features * sizeof(double)));
    RowBatch batch;
    do {
      if (auto s = (*source)->Read(most, (*source)->type(), &batch); !s.ok()) {
        return absl::IsCancelled(s) ? absl::StatusOr<int>(kExitInterrupted) : s;
      }
      rows += batch.rows;
      const BufferedInput& input = (*source)->input();
      progress.Show(rows, input.taken(), input.size());
    } while (batch.rows > 0);
  }
  progress.Erase();
  const double seconds =
      std::chrono::duration<double>(Clock::now() - begin).count();
  Say(absl::StrCat("streamnorm: ", Counted(rows, "row"),
                   " read, none counted; ", absl::StrFormat("%.1f", seconds),
                   " s"));
  return kExitOk;
}

absl::StatusOr<int> Run(const Globals& globals, const Flags& flags) {
  if (auto s = CheckFlags(flags); !s.ok()) return s;
  const auto format =
      ChooseFormat(globals.format(), {OutputFormat::kTable, OutputFormat::kJson,
                                      OutputFormat::kNdjson, OutputFormat::kCsv,
                                      OutputFormat::kName});
  if (!format.ok()) return format.status();
  const StopSignal stop(
      "stopping when what was sent is counted; Ctrl-C again stops at once");
  if (flags.dry_run) return DryRun(flags, stop);
  // Whoever mistyped the address is told soon.
  if (auto hasty = Connect(globals); !hasty.ok()) return hasty.status();
  const auto client = ConnectPatiently(globals);
  if (!client.ok()) return client.status();
  FitJob job;
  job.client = client->get();
  job.id = IdOf(flags.id);
  job.files = flags.files;
  job.checkpoint_interval =
      std::chrono::duration<double>(flags.checkpoint_interval_s);
  Files files(job.client, flags, stop.fd());
  job.open = [&](const std::string& path) {
    return files.Open(path, &job.normalizer);
  };
  if (auto s = Prepare(flags, &files, &job); !s.ok()) return s;
  return RunJob(&job, stop, *format);
}

}  // namespace

void AddFitCommand(CommandLine* line) {
  const auto flags = std::make_shared<Flags>();
  CLI::App* command = line->Add(
      "fit", "Counts the rows of files, resumably; no output but a summary",
      kRowsGroup,
      [flags](const Globals& globals) { return Run(globals, *flags); });
  command->add_option("ID", flags->id, "Which normalizer")
      ->option_text(" ")
      ->required();
  command
      ->add_option("FILE", flags->files,
                   "CSV, NPY or NDJSON, several in turn; '-' = stdin")
      ->option_text(" ")
      ->required();
  AddRowsInputOptions(command, &flags->input);
  command
      ->add_option("--batch", flags->batch_rows,
                   "Rows per request (default: as many as make 512 KiB)")
      ->option_text("N")
      ->check(MoreThanZero);
  command->add_flag("--create", flags->create,
                    "Make the normalizer from the first file's columns if "
                    "there is none");
  command->add_option("--preset", flags->preset, "With --create: its rule")
      ->option_text("NAME");
  command
      ->add_option("--checkpoint", flags->checkpoint,
                   "Where it keeps how far it is (default "
                   "FILE.streamnorm-fit)")
      ->option_text("PATH");
  command
      ->add_option("--checkpoint-interval", flags->checkpoint_interval_s,
                   "How often (default 3)")
      ->option_text("SECONDS")
      ->check(MoreThanZero);
  command->add_flag("--no-checkpoint", flags->no_checkpoint,
                    "Keep none: what is interrupted can't go on");
  command->add_flag("--restart", flags->restart,
                    "Begin anew, whatever the checkpoint says; rows that an "
                    "earlier run counted stay counted until a 'reset'");
  command->add_flag("--mended", flags->mended,
                    "Go on though the file changed: only from the row on "
                    "where it had stopped");
  command->add_flag("--dry-run", flags->dry_run,
                    "Read all rows, count none; asks no server");
  command->footer(kHelp);
}

}  // namespace streamnorm
